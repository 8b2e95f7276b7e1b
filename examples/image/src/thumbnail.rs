//! Picture in, picture out. No HTTP here.

use std::io::Cursor;

use fast_image_resize::{ResizeOptions, Resizer};
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
    error::LimitErrorKind,
    metadata::Orientation,
};

use crate::{
    Problem,
    query::{Fit, Query},
};

/// The most pixels that a picture may have: a file of a few kilobytes can claim gigabytes.
pub const MAX_PIXELS: u64 = 24_000_000;
/// The most memory for decoding one picture, in bytes.
const MAX_DECODE: u64 = 80 << 20;

/// Makes a thumbnail; gives back its bytes and their content type.
pub fn thumbnail(picture: &[u8], query: &Query) -> Result<(Vec<u8>, &'static str), Problem> {
    let (decoded, came_as) = decode(picture)?;
    let small = resize(decoded, query)?;
    encode(&small, query.format.unwrap_or(came_as), query.quality)
}

fn decode(picture: &[u8]) -> Result<(DynamicImage, ImageFormat), Problem> {
    let reader = ImageReader::new(Cursor::new(picture)).with_guessed_format().map_err(|_| not_a_picture())?;
    let format = reader.format().ok_or_else(not_a_picture)?;
    if !matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) {
        return Err(not_a_picture());
    }
    let mut decoder = reader.into_decoder().map_err(decode_problem)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || decoder.total_bytes() > MAX_DECODE {
        return Err(Problem::TooLarge(format!(
            "the picture has {width} x {height} pixels; at most {MAX_PIXELS} pixels and {} MiB decoded are taken",
            MAX_DECODE >> 20
        )));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODE);
    decoder.set_limits(limits).map_err(decode_problem)?;
    // Cameras store how they were held instead of turning the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(decode_problem)?;
    decoded.apply_orientation(orientation);
    Ok((decoded, format))
}

fn not_a_picture() -> Problem {
    Problem::NoPicture("the body is not a JPEG, PNG or WebP picture".to_owned())
}

fn decode_problem(error: ImageError) -> Problem {
    match error {
        ImageError::Limits(limit) if !matches!(limit.kind(), LimitErrorKind::Unsupported { .. }) => {
            Problem::TooLarge(format!("the picture is too large: {limit}"))
        }
        other => Problem::NoPicture(format!("the picture cannot be read: {other}")),
    }
}

fn resize(picture: DynamicImage, query: &Query) -> Result<DynamicImage, Problem> {
    let (own_width, own_height) = (picture.width(), picture.height());
    let most = (query.width.unwrap_or(u32::MAX), query.height.unwrap_or(u32::MAX));
    // Lanczos, with the machine's vectors, which WebAssembly has too.
    let whole = ResizeOptions::new();
    let ((width, height), options) = match (query.fit, query.width, query.height) {
        (Fit::Cover, Some(width), Some(height)) => ((width, height), whole.fit_into_destination(None)),
        (Fit::Exact, Some(width), Some(height)) => ((width, height), whole),
        // One side alone says all there is to say about the proportions.
        _ if own_width <= most.0 && own_height <= most.1 => return Ok(picture),
        _ => (inside((own_width, own_height), most), whole),
    };
    let mut small = DynamicImage::new(width, height, picture.color());
    let resized = Resizer::new().resize(&picture, &mut small, &options);
    resized.map_err(|error| Problem::NoPicture(format!("the picture cannot be resized: {error}")))?;
    Ok(small)
}

/// The largest size with the proportions of `own` that is not larger than `most`.
fn inside(own: (u32, u32), most: (u32, u32)) -> (u32, u32) {
    let scale = |own: u32, most: u32| f64::from(most.min(own)) / f64::from(own);
    let scale = scale(own.0, most.0).min(scale(own.1, most.1));
    let side = |own: u32| (f64::from(own) * scale).round().max(1.0) as u32;
    (side(own.0), side(own.1))
}

fn encode(picture: &DynamicImage, format: ImageFormat, quality: u8) -> Result<(Vec<u8>, &'static str), Problem> {
    let mut bytes = Vec::new();
    let (width, height) = (picture.width(), picture.height());
    let written = match format {
        ImageFormat::Jpeg => {
            // JPEG knows no transparency.
            let flat = DynamicImage::from(picture.to_rgb8());
            let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
            encoder.write_image(flat.as_bytes(), width, height, ExtendedColorType::Rgb8)
        }
        ImageFormat::WebP => {
            let pixels = picture.to_rgba8();
            let encoder = WebPEncoder::new_lossless(&mut bytes);
            encoder.write_image(&pixels, width, height, ExtendedColorType::Rgba8)
        }
        _ => {
            let color = picture.color().into();
            PngEncoder::new(&mut bytes).write_image(picture.as_bytes(), width, height, color)
        }
    };
    written.map_err(|error| Problem::NoPicture(format!("the thumbnail cannot be written: {error}")))?;
    let content_type = match format {
        ImageFormat::Jpeg => "image/jpeg",
        ImageFormat::WebP => "image/webp",
        _ => "image/png",
    };
    Ok((bytes, content_type))
}

#[cfg(test)]
mod tests {
    use image::{GenericImageView, Rgba, RgbaImage};

    use super::*;

    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let pixels = RgbaImage::from_fn(width, height, |x, y| Rgba([x as u8, y as u8, 100, 255]));
        encode(&DynamicImage::from(pixels), format, 90).unwrap().0
    }

    fn size_of(query: &str, picture: &[u8]) -> (u32, u32) {
        let (bytes, _) = thumbnail(picture, &Query::parse(query, None).unwrap()).unwrap();
        image::load_from_memory(&bytes).unwrap().dimensions()
    }

    #[test]
    fn every_fit_gives_the_promised_size() {
        let wide = picture(400, 200, ImageFormat::Png);
        assert_eq!(size_of("w=100&h=100", &wide), (100, 50));
        assert_eq!(size_of("w=100&h=100&fit=cover", &wide), (100, 100));
        assert_eq!(size_of("w=100&h=100&fit=exact", &wide), (100, 100));
        assert_eq!(size_of("h=100", &wide), (200, 100));
        assert_eq!(size_of("w=1000", &wide), (400, 200), "inside never enlarges");
    }

    #[test]
    fn formats_go_in_and_out() {
        for from in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            for (to, content_type) in [("jpeg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp")] {
                let query = Query::parse(&format!("w=20&format={to}"), None).unwrap();
                let (bytes, said) = thumbnail(&picture(50, 50, from), &query).unwrap();
                assert_eq!(said, content_type);
                assert_eq!(image::guess_format(&bytes).unwrap().to_mime_type(), content_type);
            }
        }
    }

    #[test]
    fn no_picture_and_a_picture_bomb_are_refused() {
        let query = Query::parse("", None).unwrap();
        assert!(matches!(thumbnail(b"hello", &query), Err(Problem::NoPicture(_))));
        let cut = &picture(50, 50, ImageFormat::Png)[..60];
        assert!(matches!(thumbnail(cut, &query), Err(Problem::NoPicture(_))));
        // A PNG's head says how large it is: claim 60,000 x 60,000 pixels in a file of a few hundred bytes.
        let mut bomb = picture(50, 50, ImageFormat::Png);
        bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(thumbnail(&bomb, &query), Err(Problem::TooLarge(_))));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    }
}
