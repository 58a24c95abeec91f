"""What comes out of the command definitions: completions, the manual's pages, and what the binary was built from."""

import re
import shlex
import subprocess

import pytest

from harness.deploy import loads_libraries
from harness.gateway import BINARY, run_binary

SHELLS = {"bash": ["-n"], "zsh": ["-n"], "fish": ["--no-execute"]}


def script(folder, shell):
    """The shell's script in a file."""
    done = run_binary("completions", shell)
    assert done.code == 0 and not done.err, done
    file = folder / f"portcullis.{shell}"
    file.write_text(done.out)
    return file


def completed(file, *words):
    """What bash offers for the last word, as when Tab is pressed."""
    line = " ".join(shlex.quote(word) for word in words)
    last, before = shlex.quote(words[-1]), shlex.quote(words[-2])
    asked = (
        f"source {file}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        f'_portcullis portcullis {last} {before}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_takes_the_script(tmp_path, need, shell):
    done = subprocess.run(
        [need(shell), *SHELLS[shell], script(tmp_path, shell)], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bash_completes_commands_options_and_their_values(tmp_path):
    file = script(tmp_path, "bash")
    assert completed(file, "portcullis", "expl") == ["explain"]
    assert completed(file, "portcullis", "sessions", "rev") == ["revoke"]
    assert set(completed(file, "portcullis", "completions", "")) >= {"bash", "fish", "zsh"}
    assert completed(file, "portcullis", "routes", "--js") == ["--json"]
    assert {"run", "init", "check", "man"} <= set(completed(file, "portcullis", ""))


@pytest.mark.parametrize("shell", ["elvish", "powershell"])
def test_scripts_for_other_shells_name_the_commands(shell):
    done = run_binary("completions", shell)
    assert done.code == 0 and "explain" in done.out and "revoke" in done.out


def test_a_shell_that_is_none_is_refused_with_those_that_are():
    done = run_binary("completions", "tcsh")
    assert done.code == 2 and "bash" in done.err and not done.out


def commands():
    """The commands that `--help` lists."""
    listed = run_binary("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    return {line.split()[0] for line in listed.splitlines() if re.match(r"  \S", line)}


def test_every_command_has_a_page_that_the_manual_shows_without_a_warning(tmp_path, need):
    mandoc = need("mandoc")
    assert run_binary("man", "--folder", tmp_path / "man1").code == 0
    pages = sorted((tmp_path / "man1").iterdir())
    names = {page.stem for page in pages}
    assert {"portcullis"} | {f"portcullis-{name}" for name in commands()} <= names
    assert {"portcullis-sessions-revoke", "portcullis-token-inspect"} <= names
    for page in pages:
        done = subprocess.run([mandoc, "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
        said = [line for line in done.stdout.splitlines() if "missing date" not in line and "parse date" not in line]
        assert not said, said
    shown = subprocess.run([mandoc, "-T", "utf8", tmp_path / "man1/portcullis.1"], capture_output=True, text=True).stdout
    text = re.sub(".\b", "", shown)
    assert "Exit codes:" in text and "--config" in text and all(name in text for name in commands())


def test_a_page_is_printed_by_its_commands_name():
    assert run_binary("man").out.count("\n.SH NAME\n") == 1
    page = run_binary("man", "sessions", "revoke")
    assert page.code == 0 and ".TH PORTCULLIS-SESSIONS-REVOKE 1 " in page.out and "jti" in page.out
    missing = run_binary("man", "no-such")
    assert missing.code == 2 and "there is no command `no-such`" in missing.err


def test_the_version_tells_what_it_was_built_from_and_nothing_of_the_machine():
    assert re.fullmatch(r"portcullis \d+\.\d+\.\d+\n", run_binary("-V").out)
    lines = run_binary("--version").out.splitlines()
    assert re.fullmatch(r"portcullis \d+\.\d+\.\d+", lines[0])
    told = dict(line.split(": ", 1) for line in lines[1:])
    assert set(told) == {"commit", "target", "profile", "features"}
    assert re.fullmatch(r"[0-9a-f]{7,40}(-changed)?|not recorded", told["commit"])
    assert re.fullmatch(rf"[\w-]+, linked {'dynamic' if loads_libraries(BINARY) else 'static'}ally", told["target"])
    assert "/" not in "".join(lines) and BINARY not in "".join(lines)
