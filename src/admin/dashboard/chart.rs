//! Charts as SVG, drawn here: bars that stand on each other, and lines.
//!
//! The drawing is stretched to its place, so it holds no words; these stand in HTML around it, and the
//! whole of it in one sentence for who does not see it.

use super::html::Html;

/// Units of the drawing.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// A series that is drawn: its name, its class, and a value for each place from left to right.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

/// How the series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each on the one before it.
    Bars,
    /// Each by itself; where there is no value there is no line.
    Lines,
}

/// A chart with its words.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) shape: Shape,
    pub(super) series: Vec<Series>,
    /// What the left end is.
    pub(super) from: &'static str,
    /// How a value is written.
    pub(super) unit: fn(f64) -> String,
    /// All of it in a sentence.
    pub(super) sentence: String,
}

impl Chart {
    pub(super) fn draw(&self, page: &mut Html) {
        let top = nice(self.highest());
        page.markup("<figure class=\"chart\"><figcaption><span>")
            .text(self.title)
            .markup("</span><span class=\"legend\">");
        for series in &self.series {
            page.markup("<span class=\"key ")
                .text(series.class)
                .markup("\"><i></i>")
                .text(series.name)
                .markup("</span>");
        }
        page.markup("</span></figcaption><div class=\"plot\"><span class=\"top\">")
            .text((self.unit)(top))
            .markup("</span><svg viewBox=\"0 0 600 120\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"")
            .text(&self.sentence)
            .markup("\"><path class=\"grid\" d=\"M0 0.5H600M0 60H600M0 119.5H600\" vector-effect=\"non-scaling-stroke\"/>");
        match self.shape {
            Shape::Bars => self.bars(top, page),
            Shape::Lines => self.lines(top, page),
        }
        page.markup("</svg></div><div class=\"axis\"><span>")
            .text(self.from)
            .markup("</span><span>now</span></div></figure>");
    }

    fn places(&self) -> usize {
        let lengths = self.series.iter().map(|series| series.values.len());
        lengths.max().unwrap_or_default()
    }

    /// The highest point that is drawn.
    fn highest(&self) -> f64 {
        let at = |series: &Series, place: usize| series.values.get(place).copied().flatten();
        let places = (0..self.places()).map(|place| {
            let here = self.series.iter().filter_map(|series| at(series, place));
            match self.shape {
                Shape::Bars => here.sum(),
                Shape::Lines => here.fold(0.0, f64::max),
            }
        });
        places.fold(0.0, f64::max)
    }

    fn bars(&self, top: f64, page: &mut Html) {
        let mut feet = vec![0.0; self.places()];
        let step = WIDTH / count(self.places().max(1));
        for series in &self.series {
            page.markup("<path class=\"bar ")
                .text(series.class)
                .markup("\" d=\"");
            for (place, (value, foot)) in series.values.iter().zip(&mut feet).enumerate() {
                let Some(value) = value.filter(|value| *value > 0.0) else {
                    continue;
                };
                // What is there is seen, however little it is.
                let height = (value / top * HEIGHT).max(1.5);
                let (left, width) = (step * (count(place) + 0.1), step * 0.8);
                let foot_at = HEIGHT - *foot;
                page.text(format_args!(
                    "M{left:.1} {foot_at:.1}v-{height:.1}h{width:.1}v{height:.1}z"
                ));
                *foot += height;
            }
            page.markup("\"/>");
        }
    }

    fn lines(&self, top: f64, page: &mut Html) {
        let step = WIDTH / count(self.places().max(1));
        for series in &self.series {
            let mut dots = Html::default();
            page.markup("<path class=\"line ")
                .text(series.class)
                .markup("\" vector-effect=\"non-scaling-stroke\" d=\"");
            let mut before = None;
            for (place, value) in series.values.iter().enumerate() {
                let after = series.values.get(place + 1).copied().flatten();
                if let Some(value) = value {
                    let (x, y) = (step * (count(place) + 0.5), HEIGHT - value / top * HEIGHT);
                    match (before, after) {
                        // A value alone is a dot: a line of no length with round ends.
                        (None, None) => dots.text(format_args!("M{x:.1} {y:.1}h0")),
                        (None, Some(_)) => page.text(format_args!("M{x:.1} {y:.1}")),
                        (Some(_), _) => page.text(format_args!("L{x:.1} {y:.1}")),
                    };
                }
                before = *value;
            }
            page.markup("\"/><path class=\"line dot ")
                .text(series.class)
                .markup("\" vector-effect=\"non-scaling-stroke\" d=\"")
                .part(&dots)
                .markup("\"/>");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are few places")]
fn count(places: usize) -> f64 {
    places as f64
}

/// The next round number: what the axis ends with.
fn nice(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let base = 10_f64.powf(highest.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = steps.into_iter().find(|step| step * base >= highest);
    fits.unwrap_or(10.0) * base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(shape: Shape, values: Vec<Option<f64>>) -> String {
        let mut page = Html::default();
        let chart = Chart {
            title: "T",
            shape,
            series: vec![Series {
                name: "n",
                class: "c",
                values,
            }],
            from: "then",
            unit: |value| format!("{value}"),
            sentence: "all \"of\" it".to_owned(),
        };
        chart.draw(&mut page);
        page.into_string()
    }

    #[test]
    fn an_axis_ends_with_a_round_number_that_holds_all() {
        for (highest, end) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (3.0, 3.0),
            (51.0, 60.0),
            (0.035, 0.04),
        ] {
            assert!((nice(highest) - end).abs() < 1e-9, "{highest}");
        }
    }

    #[test]
    fn bars_stand_on_the_ground_and_reach_the_top() {
        let drawn = chart(Shape::Bars, vec![Some(10.0), None, Some(0.0)]);
        assert!(
            drawn.contains("d=\"M20.0 120.0v-120.0h160.0v120.0z\""),
            "{drawn}"
        );
        assert!(drawn.contains("aria-label=\"all &quot;of&quot; it\""));
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_value() {
        let drawn = chart(Shape::Lines, vec![Some(1.0), Some(0.5), None, Some(1.0)]);
        assert!(drawn.contains("d=\"M75.0 0.0L225.0 60.0\""), "{drawn}");
        assert!(drawn.contains("d=\"M525.0 0.0h0\""), "{drawn}");
    }

    #[test]
    fn an_empty_chart_can_be_drawn() {
        assert!(chart(Shape::Bars, Vec::new()).contains("d=\"\""));
    }
}
