//! `[tracing]`.

use super::*;

fn tracing(text: &str) -> Option<Tracing> {
    good(&format!("{GOOD}{text}")).settings.tracing
}

fn address(otlp: &str) -> String {
    let made = tracing(&format!("[tracing]\notlp = \"{otlp}\"\n"));
    made.unwrap().otlp.into()
}

#[test]
fn traces_are_off_until_the_table_is_there() {
    assert_eq!(tracing(""), None);
    let made = tracing("[tracing]\notlp = \"http://127.0.0.1:4318\"\n").unwrap();
    assert!((made.sample - 0.1).abs() < f64::EPSILON);
}

#[test]
fn the_path_of_traces_stands_behind_the_address() {
    for given in [
        "http://127.0.0.1:4318",
        "http://127.0.0.1:4318/",
        "http://127.0.0.1:4318/v1/traces",
    ] {
        assert_eq!(address(given), "http://127.0.0.1:4318/v1/traces", "{given}");
    }
    assert_eq!(
        address("https://c.example/otlp/"),
        "https://c.example/otlp/v1/traces"
    );
}

#[test]
fn a_sample_is_a_share() {
    for (written, meant) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1.0", 1.0)] {
        let text = format!("[tracing]\notlp = \"http://[::1]:4318\"\nsample = {written}\n");
        let made = tracing(&text).unwrap().sample;
        assert!((made - meant).abs() < f64::EPSILON, "{written}");
    }
    for wrong in ["-0.1", "1.01", "10", "nan", "9999999999"] {
        let text = format!("[tracing]\notlp = \"http://[::1]:4318\"\nsample = ◆{wrong}\n");
        refused(&text, &["out of range", "0 to 1"]);
    }
    refused(
        "[tracing]\notlp = \"http://[::1]:4318\"\nsample = ◆\"all\"\n",
        &["must be a number"],
    );
}

#[test]
fn an_address_with_a_password_is_refused_and_not_repeated() {
    let report = bad(&format!(
        "{GOOD}[tracing]\notlp = \"http://me:hidden@c.example:4318\"\n"
    ));
    assert!(
        report.contains("traces can be sent to") && !report.contains("hidden"),
        "{report}"
    );
    for wrong in [
        "c.example:4318",
        "grpc://c.example:4317",
        "http://c.example/?token=1",
        "",
    ] {
        let text = format!("[tracing]\notlp = ◆\"{wrong}\"\n");
        refused(&text, &["is not an address that traces can be sent to"]);
    }
    refused("◆[tracing]\nsample = 0.5\n", &["tracing.otlp", "required"]);
}

#[test]
fn traces_that_leave_the_machine_in_the_clear_are_warned_of() {
    let warnings = |otlp: &str| {
        good(&format!("{GOOD}[tracing]\notlp = \"{otlp}\"\n"))
            .warnings
            .len()
    };
    assert_eq!(
        warnings("http://c.example:4318"),
        warnings("https://c.example:4318") + 1
    );
    assert_eq!(
        warnings("http://127.0.0.1:4318"),
        warnings("https://c.example:4318")
    );
}
