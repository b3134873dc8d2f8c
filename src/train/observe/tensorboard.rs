//! TensorBoard's event files.
//!
//! A file is a sequence of records (length, its checksum, data, its checksum), each holding one `Event`
//! message. The messages are those of TensorFlow's `event.proto` and `summary.proto`; their field numbers
//! stand beside the names below.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Metrics;
use super::protobuf::Message;
use crate::{Error, Result};

/// What every event file's name starts with.
const PREFIX: &str = "events.out.tfevents.";
/// Bins of a histogram; TensorBoard draws 30.
const BINS: usize = 60;
/// `SessionLog.START`
const START: u64 = 1;
/// `DataType.DT_STRING`
const DT_STRING: u64 = 7;

/// Writes one session's events into a file of its own.
pub struct EventWriter {
    path: PathBuf,
    out: BufWriter<File>,
}

impl EventWriter {
    /// Starts a new file in `folder`, which is made if need be; `wall_time` is in seconds since 1970.
    ///
    /// The session will write steps from `first_step` on: 0 for a new run, k + 1 for one that resumes from the
    /// checkpoint of step k. TensorBoard then forgets what earlier files of the folder hold of these steps.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: impl AsRef<Path>, first_step: u64, wall_time: f64) -> Result<Self> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let path = folder.join(next_name(folder, wall_time)?);
        let file = File::create_new(&path).map_err(Error::io(&path))?;
        let mut writer = EventWriter { path, out: BufWriter::new(file) };
        writer.record(&event(0, wall_time).bytes_field(3, b"brain.Event:2"))?; // file_version
        // Every session says that it starts: TensorBoard takes the first such event for the run's beginning
        // and each further one for a restart at its step.
        let session = Message::default().integer(1, START); // status
        writer.record(&event(first_step, wall_time).message(7, &session))?; // session_log
        writer.flush()?;
        Ok(writer)
    }

    /// The file that is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all values of a step as scalars.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&mut self, metrics: &Metrics) -> Result<()> {
        let values = metrics.values.iter().map(|(tag, value)| scalar(tag, *value));
        self.summary(metrics.step, metrics.wall_time, &values.collect::<Vec<_>>())
    }

    /// Writes the distribution of `values`; those that are not finite are left out, and so is a histogram
    /// without any.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn histogram(&mut self, tag: &str, values: &[f32], step: u64, wall_time: f64) -> Result<()> {
        match histogram(values) {
            Some(histogram) => self.summary(step, wall_time, &[value(tag).message(5, &histogram)]), // histo
            None => Ok(()),
        }
    }

    /// Writes a text, which TensorBoard shows as Markdown.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn text(&mut self, tag: &str, text: &str, step: u64, wall_time: f64) -> Result<()> {
        let plugin = Message::default().bytes_field(1, b"text"); // plugin_name
        let metadata = Message::default().message(1, &plugin); // plugin_data
        let tensor = Message::default().integer(1, DT_STRING).message(2, &Message::default()); // dtype, scalar shape
        let tensor = tensor.bytes_field(8, text.as_bytes()); // string_val
        self.summary(step, wall_time, &[value(tag).message(9, &metadata).message(8, &tensor)])
    }

    /// Writes an image, given as the bytes of a PNG file.
    ///
    /// # Errors
    /// [`Error::Data`] if the bytes are no PNG, [`Error::Io`].
    pub fn image(&mut self, tag: &str, png: &[u8], step: u64, wall_time: f64) -> Result<()> {
        let (width, height) = png_size(png)
            .ok_or_else(|| Error::Data(format!("image `{tag}` of step {step}: expected the bytes of a PNG file")))?;
        let image = Message::default().integer(1, height.into()).integer(2, width.into()).bytes_field(4, png);
        self.summary(step, wall_time, &[value(tag).message(4, &image)])
    }

    /// Hands everything written so far to the operating system, where TensorBoard sees it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(Error::io(&self.path))
    }

    fn summary(&mut self, step: u64, wall_time: f64, values: &[Message]) -> Result<()> {
        let summary = values.iter().fold(Message::default(), |summary, value| summary.message(1, value));
        self.record(&event(step, wall_time).message(5, &summary))
    }

    /// Frames one event: length, masked checksum of the length, data, masked checksum of the data.
    fn record(&mut self, event: &Message) -> Result<()> {
        let data = event.bytes();
        let length = (data.len() as u64).to_le_bytes();
        let record = [&length[..], &masked_checksum(&length), data, &masked_checksum(data)].concat();
        self.out.write_all(&record).map_err(Error::io(&self.path))
    }
}

/// A file name that sorts behind all others in the folder, even if the clock went back: TensorBoard reads the
/// files in the order of their names, and a restart must come after what it supersedes.
fn next_name(folder: &Path, wall_time: f64) -> Result<String> {
    let mut count = 0;
    let mut seconds = wall_time as u64;
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        count += 1;
        let earlier = rest.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
        seconds = seconds.max(earlier.map_or(0, |earlier| earlier.saturating_add(1)));
    }
    Ok(format!("{PREFIX}{seconds:010}.{}.qsd.{count}", host_name()))
}

/// The machine's name, without characters that a file name may not have.
fn host_name() -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: the pointer and length are those of the buffer, whose last byte is kept for the terminator.
    let status = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    let name = CStr::from_bytes_until_nul(&buffer).ok().filter(|_| status == 0).and_then(|name| name.to_str().ok());
    let usable = |character: &char| character.is_ascii_alphanumeric() || "-_.".contains(*character);
    let name: String = name.unwrap_or_default().chars().filter(usable).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// `Event` with its time and step.
fn event(step: u64, wall_time: f64) -> Message {
    Message::default().double(1, wall_time).integer(2, step)
}

/// `Summary.Value` with its tag.
fn value(tag: &str) -> Message {
    Message::default().bytes_field(1, tag.as_bytes())
}

fn scalar(tag: &str, number: f64) -> Message {
    value(tag).float(2, number as f32) // simple_value
}

/// `HistogramProto` with [`BINS`] equal bins between the extremes; none if no value is finite.
fn histogram(values: &[f32]) -> Option<Message> {
    let finite = || values.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
    let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), x| (min.min(x), max.max(x)));
    if min > max {
        return None;
    }
    let bins = if min == max { 1 } else { BINS };
    let width = (max - min) / bins as f64;
    let mut counts = vec![0.0; bins];
    let (mut sum, mut squares) = (0.0, 0.0);
    for x in finite() {
        let bin = if width > 0.0 { ((x - min) / width) as usize } else { 0 };
        counts[bin.min(bins - 1)] += 1.0;
        sum += x;
        squares += x * x;
    }
    let mut limits: Vec<f64> = (1..=bins).map(|bin| min + width * bin as f64).collect();
    limits[bins - 1] = max;
    let histogram = Message::default().double(1, min).double(2, max).double(3, finite().count() as f64);
    Some(histogram.double(4, sum).double(5, squares).doubles(6, &limits).doubles(7, &counts))
}

/// The width and height of a PNG file, from its first chunk.
fn png_size(png: &[u8]) -> Option<(u32, u32)> {
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    Some((number(header.get(..4)?)?, number(header.get(4..8)?)?))
}

/// The record format's guard against data that contain their own checksum: CRC-32C, turned and offset.
fn masked_checksum(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
