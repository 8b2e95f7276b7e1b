//! The parameters of a call, from the query of its URL.

use image::ImageFormat;

use crate::Problem;

/// The longest side that is made.
pub const MAX_SIDE: u32 = 4096;

/// How the picture is made to fit the wanted size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// As large as fits inside; keeps the proportions; never enlarges.
    Inside,
    /// Fills the size; keeps the proportions; cuts what stands out.
    Cover,
    /// Exactly the size; the proportions give way.
    Exact,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Wanted width.
    pub width: Option<u32>,
    /// Wanted height.
    pub height: Option<u32>,
    /// How to get there.
    pub fit: Fit,
    /// What to encode; absent means what came in.
    pub format: Option<ImageFormat>,
    /// Quality of a JPEG, 1 to 100.
    pub quality: u8,
}

impl Query {
    /// Reads what stands behind the `?`.
    pub fn parse(query: &str, default_quality: Option<&str>) -> Result<Self, Problem> {
        let quality = default_quality.map_or(Ok(80), |text| number("QUALITY", text, 100))?;
        let mut wanted = Self {
            width: None,
            height: None,
            fit: Fit::Inside,
            format: None,
            quality: quality.try_into().unwrap_or(80),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "w" => wanted.width = Some(number("w", value, MAX_SIDE)?),
                "h" => wanted.height = Some(number("h", value, MAX_SIDE)?),
                "q" => wanted.quality = number("q", value, 100)?.try_into().unwrap_or(100),
                "fit" => wanted.fit = fit(value)?,
                "format" => wanted.format = Some(format(value)?),
                _ => {
                    return Err(Problem::BadRequest(format!(
                        "unknown parameter '{name}'; there are w, h, fit, format and q"
                    )));
                }
            }
        }
        if wanted.width.is_none() && wanted.height.is_none() {
            wanted.width = Some(256);
            wanted.height = Some(256);
        }
        Ok(wanted)
    }
}

fn number(name: &str, text: &str, most: u32) -> Result<u32, Problem> {
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(Problem::BadRequest(format!("{name} must be a number from 1 to {most}, not '{text}'"))),
    }
}

fn fit(text: &str) -> Result<Fit, Problem> {
    match text {
        "inside" => Ok(Fit::Inside),
        "cover" => Ok(Fit::Cover),
        "exact" => Ok(Fit::Exact),
        _ => Err(Problem::BadRequest(format!("fit must be inside, cover or exact, not '{text}'"))),
    }
}

fn format(text: &str) -> Result<ImageFormat, Problem> {
    match text {
        "jpeg" | "jpg" => Ok(ImageFormat::Jpeg),
        "png" => Ok(ImageFormat::Png),
        "webp" => Ok(ImageFormat::WebP),
        _ => Err(Problem::BadRequest(format!("format must be jpeg, png or webp, not '{text}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_has_defaults() {
        let query = Query::parse("w=100&h=50&fit=cover&format=webp&q=9", None).unwrap();
        let expected =
            Query { width: Some(100), height: Some(50), fit: Fit::Cover, format: Some(ImageFormat::WebP), quality: 9 };
        assert_eq!(query, expected);
        let plain = Query::parse("", Some("70")).unwrap();
        assert_eq!((plain.width, plain.height, plain.quality), (Some(256), Some(256), 70));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, name) in [
            ("w=0", "w must be"),
            ("h=4097", "h must be"),
            ("w=abc", "'abc'"),
            ("q=101", "q must be"),
            ("fit=x", "fit must be"),
            ("format=gif", "format must be"),
            ("width=3", "unknown parameter 'width'"),
        ] {
            let Err(Problem::BadRequest(text)) = Query::parse(query, None) else { panic!("{query} was accepted") };
            assert!(text.contains(name), "{text}");
        }
    }
}
