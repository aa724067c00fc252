//! The speed and memory of the decoder: `cargo bench --bench decode`.
//!
//! The body of a diff of about 100 MB (10^6 files, both forms of their fields) is decoded in chunks of the size that a
//! socket returns. `serde_json` in the same run is typed, takes the whole body in one piece, and counts the same files
//! and sums the same sizes. It never stops within a token and does not validate skipped UTF-8. Rounds alternate; the
//! ratio is the median of theirs.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::hint::black_box;
use std::time::{Duration, Instant};

use forgewatch_core::decode::{DecodedBody, Decoder};
use forgewatch_core::rng::SeededRng;
use forgewatch_core::status::FileSum;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use support::median::median;
use support::rss::memory;

mod support {
    pub(crate) mod median;
    pub(crate) mod rss;
}

type Outcome<T> = Result<T, Box<dyn Error>>;

const FILES: u64 = 1_000_000;
const CHUNK_SIZES: [usize; 2] = [16 << 10, 64 << 10];
const ROUNDS: usize = 9;
const STATUSES: u32 = 200_000;

const STATUS: &str = r#"{"jobprogress":42.5,"jobstateid":4,"jobstart":"1760000100","joberror":null,"jobeta":1760003600,"jobfailed":0,"success":true,"jobcreated":1760000000,"updateid":1234567,"jobupdated":1760001800,"jobstatename":"Running","accountserviceid":"654321","imageid":98765,"machineid":4321,"comment":"nightly build 1"}"#;

fn main() -> Outcome<()> {
    // First, while the process is small: serde_json needs the whole body.
    growth()?;
    let mut body = Vec::new();
    for chunk in DiffBody::new() {
        body.extend_from_slice(chunk.as_bytes());
    }
    speed(&body)?;
    latency()
}

/// Decodes the body while it is generated, chunk by chunk, and prints how much the process grew.
fn growth() -> Outcome<()> {
    let mut body = DiffBody::new();
    let mut decoder = Decoder::new();
    let mut bytes = 0;
    let before = memory("self", "VmHWM:")?;
    for chunk in &mut body {
        bytes += chunk.len();
        decoder.push(chunk.as_bytes())?;
    }
    let files = count(decoder.finish()?)?;
    let grown = memory("self", "VmHWM:")?.saturating_sub(before) >> 10;
    println!(
        "diff of {} MB, {} files: the process grows by {grown} KiB",
        bytes / 1_000_000,
        files.count,
    );
    Ok(())
}

/// Decodes the body with our decoder and with `serde_json`, in turn.
fn speed(body: &[u8]) -> Outcome<()> {
    for size in CHUNK_SIZES {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let (ours, files) = timed(|| {
                let mut decoder = Decoder::new();
                body.chunks(size).try_for_each(|c| decoder.push(c))?;
                count(decoder.finish()?)
            })?;
            let (serde, expected) =
                timed(|| Ok(serde_json::from_slice::<SerdeDiff>(body)?.added.0))?;
            if files != expected {
                return Err(format!("{files:?} is not {expected:?}").into());
            }
            rounds.push((ours, serde));
        }
        let rate = |time: f64| body.len() as f64 / 1e6 / time;
        println!(
            "in chunks of {} KiB: {:.0} MB/s; serde_json typed, whole body: {:.0} MB/s; ratio {:.2}",
            size >> 10,
            rate(median(rounds.iter().map(|(ours, _)| ours.as_secs_f64()))),
            rate(median(rounds.iter().map(|(_, serde)| serde.as_secs_f64()))),
            median(
                rounds
                    .iter()
                    .map(|(ours, serde)| serde.as_secs_f64() / ours.as_secs_f64())
            ),
        );
    }
    Ok(())
}

/// The same for one short status.
fn latency() -> Outcome<()> {
    let body = STATUS.as_bytes();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (ours, ()) = timed(|| {
            for _ in 0..STATUSES {
                let mut decoder = Decoder::new();
                decoder.push(black_box(body))?;
                black_box(decoder.finish()?);
            }
            Ok(())
        })?;
        let (serde, ()) = timed(|| {
            for _ in 0..STATUSES {
                black_box(serde_json::from_slice::<SerdeStatus>(black_box(body))?);
            }
            Ok(())
        })?;
        rounds.push((ours, serde));
    }
    let each = |time: f64| time * 1e9 / f64::from(STATUSES);
    println!(
        "status of {} bytes: {:.0} ns; serde_json typed: {:.0} ns",
        body.len(),
        each(median(rounds.iter().map(|(ours, _)| ours.as_secs_f64()))),
        each(median(rounds.iter().map(|(_, serde)| serde.as_secs_f64()))),
    );
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(Duration, T)> {
    let begin = Instant::now();
    let result = work()?;
    Ok((begin.elapsed(), result))
}

fn count(body: DecodedBody) -> Outcome<FileSum> {
    match body {
        DecodedBody::Status(status) => Ok(status.files.unwrap_or_default().added),
        DecodedBody::Error(error) => Err(error.message.into()),
    }
}

/// The body of a diff, generated in pieces of about 64 KiB.
struct DiffBody {
    file: u64,
}

impl DiffBody {
    fn new() -> Self {
        Self { file: 0 }
    }
}

impl Iterator for DiffBody {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.file > FILES {
            return None;
        }
        let mut piece = String::with_capacity(66 << 10);
        if self.file == 0 {
            piece.push_str(r#"{"imageversionid":77,"jobprogress":100,"jobstateid":5,"added":{"#);
        }
        while self.file < FILES && piece.len() < 64 << 10 {
            if self.file > 0 {
                piece.push(',');
            }
            file(&mut piece, self.file).ok()?;
            self.file += 1;
        }
        if self.file == FILES {
            piece.push_str(r#"},"modified":[],"removed":[],"jobfailed":0}"#);
            self.file += 1;
        }
        Some(piece)
    }
}

/// Adds the `n`-th file, in the form of the vendor's table or of its example.
fn file(piece: &mut String, n: u64) -> fmt::Result {
    const FOLDERS: [&str; 5] = [
        "Engine/Binaries/Linux",
        "Game/Content/Maps/Harbour",
        "Game/Content/Characters/Shared/Textures",
        "Game/Content/Audio",
        "Saved/Logs",
    ];
    let bits = SeededRng::new(n).bits();
    let folder = FOLDERS.get(bits as usize % FOLDERS.len()).unwrap_or(&"");
    let (size, crc) = (bits >> 40, bits >> 32);
    write!(
        piece,
        r#""{folder}/Region_{:02}/part_{n:06}.uasset":"#,
        bits >> 58
    )?;
    if bits >> 20 & 1 == 0 {
        write!(piece, r#"{{"filesize":"{size}","crc32sum":{crc}}}"#)
    } else {
        write!(piece, r#"{{"size":{size},"crc":"{crc}"}}"#)
    }
}

/// The fields of a diff for `serde_json`.
#[derive(Deserialize)]
struct SerdeDiff {
    added: SerdeFiles,
}

struct SerdeFiles(FileSum);

#[derive(Deserialize)]
struct SerdeFile {
    #[serde(alias = "filesize")]
    size: SerdeSize,
}

struct SerdeSize(u64);

impl<'de> Deserialize<'de> for SerdeFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = SerdeFiles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SerdeFiles, A::Error> {
                let mut sum = FileSum::default();
                while let Some((_, file)) = map.next_entry::<IgnoredAny, SerdeFile>()? {
                    sum.count += 1;
                    sum.bytes += file.size.0;
                }
                Ok(SerdeFiles(sum))
            }
        }
        deserializer.deserialize_map(Count)
    }
}

impl<'de> Deserialize<'de> for SerdeSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = SerdeSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes, as a number or a string")
            }

            fn visit_u64<E: serde::de::Error>(self, size: u64) -> Result<SerdeSize, E> {
                Ok(SerdeSize(size))
            }

            fn visit_str<E: serde::de::Error>(self, size: &str) -> Result<SerdeSize, E> {
                size.parse().map(SerdeSize).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Size)
    }
}

/// The fields of a short status for `serde_json`.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only the decoding is measured")]
struct SerdeStatus {
    jobprogress: Option<f32>,
    jobstateid: Option<i64>,
    jobstatename: Option<String>,
    joberror: Option<String>,
    jobfailed: Option<u32>,
    jobeta: Option<i64>,
    jobcreated: Option<i64>,
    jobstart: Option<String>,
    jobupdated: Option<i64>,
}
