//! Pages of plain HTML. Text gets in only escaped.

use std::fmt::{Display, Write};

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// The page so far.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Markup as it stands in the code.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, escaped for content and for attributes in double quotes.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// A table with a caption, or the sentence that says why there is none.
    pub(super) fn table<const N: usize>(
        &mut self,
        caption: &'static str,
        columns: [&'static str; N],
        rows: impl Iterator<Item = [String; N]>,
    ) {
        let mut rows = rows.peekable();
        self.markup("<h2>").text(caption).markup("</h2>\n");
        if rows.peek().is_none() {
            self.markup("<p>None.</p>\n");
            return;
        }
        self.markup("<table><thead><tr>");
        for column in columns {
            self.markup("<th>").text(column).markup("</th>");
        }
        self.markup("</tr></thead>\n<tbody>");
        for row in rows {
            self.markup("<tr>");
            for cell in row {
                self.markup("<td>").text(cell).markup("</td>");
            }
            self.markup("</tr>\n");
        }
        self.markup("</tbody></table>\n");
    }
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
                // Also those that turn the reading direction, which would make a cell lie.
                other
                    if other.is_control()
                        || matches!(other, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
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
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut page = Html::default();
        page.table(
            "T",
            ["a"],
            [["<script>alert(\"1\")</script>&'\u{1b}".to_owned()]].into_iter(),
        );
        let page = page.into_string();
        assert!(
            page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\u{fffd}")
        );
        assert!(!page.contains("<script"));
    }
}
