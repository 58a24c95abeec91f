"""What every refusal must look like, in one place."""


def refused(answer, status, code, by="gateway"):
    """Asserts a refusal: its status, its code, who made it, and that it can be traced."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers.get("x-refused-by") == by, dict(answer.headers)
    assert answer.headers.get("x-request-id")
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["title"] and problem["type"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    if status in (401, 403, 429):
        assert "no-store" in answer.headers["cache-control"]
    return problem


def passed(answer, status=200):
    """Asserts that the app answered."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert "x-refused-by" not in answer.headers
    assert answer.headers.get("x-request-id")
    return answer


def seen_by_app(answer):
    """The echo's account of what reached the app."""
    passed(answer)
    return answer.json()
