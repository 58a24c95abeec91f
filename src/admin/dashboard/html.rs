//! HTML being written. Text gets in only escaped.

use std::fmt::{Display, Write};

/// A page, or a part of one, being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// How a word is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// All is well.
    Good,
    /// Someone should look at it.
    Warning,
    /// Something is broken.
    Bad,
}

/// What stands in a table.
#[derive(Debug)]
pub(super) enum Cell {
    /// Words.
    Words(String),
    /// What a machine wrote or reads: broken anywhere.
    Code(String),
    /// Several, each on a line of its own.
    Lines(Vec<String>),
    /// A point in time.
    Time(String),
    /// A number.
    Number(u64),
    /// A word with a colour that says the same.
    Mark(Tone, String),
}

impl Html {
    /// What was written so far.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Markup as it stands in the code.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// What was written, and escaped, elsewhere.
    pub(super) fn part(&mut self, part: &Self) -> &mut Self {
        self.0.push_str(&part.0);
        self
    }

    /// A section that was made before.
    pub(super) fn section(&mut self, section: &super::Section) -> &mut Self {
        self.0.push_str(&section.html);
        self
    }

    /// Text, escaped for content and for attributes in double quotes.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// A word with a colour that says the same.
    pub(super) fn mark(&mut self, tone: Tone, words: impl Display) -> &mut Self {
        self.markup(match tone {
            Tone::Good => "<span class=\"mark good\">",
            Tone::Warning => "<span class=\"mark warning\">",
            Tone::Bad => "<span class=\"mark bad\">",
        });
        self.text(words).markup("</span>")
    }

    /// A point in time, given as RFC 3339 in UTC.
    pub(super) fn time(&mut self, at: &str) -> &mut Self {
        self.markup("<time datetime=\"").text(at).markup("\">");
        match at.strip_suffix('Z').and_then(|at| at.split_once('T')) {
            Some((day, time)) => self.text(format_args!("{day} {time} UTC")),
            None => self.text(at),
        };
        self.markup("</time>")
    }

    /// A table with a caption, or the sentence that says that there is nothing. On a narrow screen
    /// each row is a card, which takes its roles from it; so they are said.
    pub(super) fn table<const N: usize>(
        &mut self,
        caption: &'static str,
        columns: [&'static str; N],
        rows: impl Iterator<Item = [Cell; N]>,
    ) {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            self.markup("<p class=\"none\">")
                .text(caption)
                .markup(": none.</p>");
            return;
        }
        self.markup("<div class=\"scroll\"><table role=\"table\"><caption>")
            .text(caption)
            .markup("</caption><thead role=\"rowgroup\"><tr role=\"row\">");
        for column in columns {
            self.markup("<th role=\"columnheader\" scope=\"col\">")
                .text(column)
                .markup("</th>");
        }
        self.markup("</tr></thead><tbody role=\"rowgroup\">");
        for row in rows {
            self.markup("<tr role=\"row\">");
            for (column, cell) in columns.iter().zip(row) {
                self.cell(column, cell);
            }
            self.markup("</tr>");
        }
        self.markup("</tbody></table></div>");
    }

    /// A cell of a row under this column.
    pub(super) fn cell(&mut self, column: &'static str, cell: Cell) {
        let class = match cell {
            Cell::Lines(_) => "lines",
            Cell::Words(_) | Cell::Mark(..) | Cell::Time(_) => "",
            Cell::Code(_) => "code",
            Cell::Number(_) => "number",
        };
        self.markup("<td role=\"cell\" data-label=\"")
            .text(column)
            .markup("\" class=\"")
            .text(class)
            .markup("\"><span>");
        match cell {
            Cell::Words(text) | Cell::Code(text) => {
                self.text(text);
            }
            Cell::Number(number) => {
                self.text(grouped(number));
            }
            Cell::Time(at) => {
                self.time(&at);
            }
            Cell::Mark(tone, words) => {
                self.mark(tone, words);
            }
            Cell::Lines(lines) => {
                for (place, line) in lines.iter().enumerate() {
                    self.markup(if place == 0 { "" } else { "<br>" }).text(line);
                }
            }
        }
        self.markup("</span></td>");
    }
}

/// A number in groups of three: `12 345`, with a space that does not break.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push('\n'),
                // Also those that turn the reading direction, which would make a cell lie.
                other
                    if other.is_control()
                        || matches!(other, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    self.0.push('\u{fffd}');
                }
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell(text: &str) -> String {
        let mut page = Html::default();
        let rows = [[Cell::Words(text.to_owned()), Cell::Code(text.to_owned())]];
        page.table("T", ["a", "b"], rows.into_iter());
        page.into_string()
    }

    #[test]
    fn text_cannot_become_markup() {
        let page = cell("<script>alert(\"1\")</script>&'\u{1b}\u{202e}\u{61c}");
        let escaped =
            "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\u{fffd}\u{fffd}\u{fffd}";
        assert!(page.contains(escaped), "{page}");
        assert!(!page.contains("<script"));
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }

    proptest! {
        #[test]
        fn no_text_adds_a_tag_or_ends_an_attribute(text in any::<String>()) {
            let (with, without) = (cell(&text), cell(""));
            for mark in ['<', '>', '"', '\''] {
                prop_assert_eq!(with.matches(mark).count(), without.matches(mark).count());
            }
        }
    }
}
