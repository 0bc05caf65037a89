//! Small pictures of numbers over time, drawn on the server.

/// A bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// From the left.
    pub x: usize,
    /// From the top.
    pub y: i64,
    /// Its own; at least one where there is anything.
    pub height: i64,
}

/// Bars, oldest first, in a picture of [`WIDTH`] by [`HEIGHT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    /// What is drawn.
    pub bars: Vec<Bar>,
    /// The same in words.
    pub words: String,
}

/// Of a picture of twelve bars.
pub const WIDTH: usize = 120;
/// Of a picture.
pub const HEIGHT: i64 = 40;

impl Chart {
    /// Of what, and how much each.
    pub fn of(what: &str, values: &[i64]) -> Self {
        let most = values.iter().copied().max().unwrap_or_default().max(1);
        let bar = |(at, value): (usize, &i64)| {
            let height = (value * HEIGHT / most).max(i64::from(*value > 0));
            Bar {
                x: at * (WIDTH / 12) + 1,
                y: HEIGHT - height,
                height,
            }
        };
        let words: Vec<String> = values.iter().map(i64::to_string).collect();
        Self {
            bars: values.iter().enumerate().map(bar).collect(),
            words: format!("{what}, oldest first: {}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fit_their_picture_and_nothing_is_drawn_as_nothing() {
        let chart = Chart::of("requests", &[0, 1, 1000, i64::from(i32::MAX), 0]);
        let heights: Vec<i64> = chart.bars.iter().map(|bar| bar.height).collect();
        assert_eq!(heights, [0, 1, 1, HEIGHT, 0]);
        assert!(chart.bars.iter().all(|bar| bar.y + bar.height == HEIGHT));
        assert_eq!(Chart::of("x", &[0, 0]).bars[0].height, 0);
        assert_eq!(
            chart.words,
            "requests, oldest first: 0, 1, 1000, 2147483647, 0"
        );
    }
}
