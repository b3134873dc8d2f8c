//! Flat buffers ⇄ safetensors files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View, serialize};
use sha2::{Digest, Sha256};

use super::manifest::{damaged, hex};
use crate::model::{Layout, Span};
use crate::{Error, Result};

/// The longest safetensors header that is parsed, in bytes.
const MAX_HEADER: u64 = 1 << 24;
/// How many differences between two models an error lists.
const MAX_LISTED: usize = 10;

/// One parameter's numbers on their way into a file.
struct Tensor<'a> {
    span: &'a Span,
    numbers: &'a [f32],
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.span.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.numbers)
    }
}

/// A safetensors file of one or more buffers of the same layout; each prefixes the parameters' names.
pub(super) fn encode(layout: &Layout, buffers: &[(&str, &[f32])]) -> Result<Vec<u8>> {
    let tensors = buffers.iter().flat_map(|(prefix, numbers)| {
        let tensor = move |span| Tensor { span, numbers: &numbers[span.range.clone()] };
        layout.spans().iter().map(move |span| (format!("{prefix}{}", span.name), tensor(span)))
    });
    serialize(tensors, None).map_err(|error| Error::Checkpoint(format!("a checkpoint cannot be encoded: {error}")))
}

/// The buffers that [`encode`] wrote with these prefixes, for the same layout.
///
/// # Errors
/// [`Error::Checkpoint`] when names, types or shapes differ from the layout's (with at most ten of them), or
/// a number is not finite.
pub(super) fn decode<const B: usize>(
    path: &Path,
    bytes: &[u8],
    layout: &Layout,
    prefixes: [&str; B],
) -> Result<[Vec<f32>; B]> {
    let header = bytes.first_chunk().map_or(u64::MAX, |length| u64::from_le_bytes(*length));
    if header > MAX_HEADER {
        return Err(damaged(path, format!("a header of {header} bytes; the most is {MAX_HEADER}")));
    }
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(path, error))?;
    compare(path, &tensors, layout, &prefixes)?;
    let mut buffers = [const { Vec::new() }; B];
    for (buffer, prefix) in buffers.iter_mut().zip(prefixes) {
        buffer.reserve_exact(layout.len());
        for span in layout.spans() {
            let name = format!("{prefix}{}", span.name);
            let tensor = tensors.tensor(&name).map_err(|error| damaged(path, error))?;
            buffer.extend(tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        check_finite(layout, buffer).map_err(|cause| damaged(path, format!("{prefix}{cause}")))?;
    }
    Ok(buffers)
}

/// Makes sure that the file holds exactly the layout's tensors.
fn compare(path: &Path, tensors: &SafeTensors, layout: &Layout, prefixes: &[&str]) -> Result<()> {
    let mut found: BTreeMap<String, String> =
        tensors.iter().map(|(name, tensor)| (name.into(), describe(tensor.dtype(), tensor.shape()))).collect();
    let mut differences = Vec::new();
    for (prefix, span) in prefixes.iter().flat_map(|prefix| layout.spans().iter().map(move |span| (prefix, span))) {
        let (name, expected) = (format!("{prefix}{}", span.name), describe(Dtype::F32, &span.shape));
        match found.remove(&name) {
            Some(found) if found == expected => {}
            Some(found) => differences.push(format!("{name}: {expected} expected, {found} found")),
            None => differences.push(format!("{name}: {expected} expected, missing")),
        }
    }
    differences.extend(found.into_iter().map(|(name, found)| format!("{name}: not expected, {found} found")));
    if differences.is_empty() { Ok(()) } else { Err(another_model(path, &differences)) }
}

fn describe(dtype: Dtype, shape: &[usize]) -> String {
    format!("{dtype:?}{shape:?}")
}

fn another_model(path: &Path, differences: &[String]) -> Error {
    let listed = differences[..differences.len().min(MAX_LISTED)].join("\n  ");
    let more = differences.len().saturating_sub(MAX_LISTED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    damaged(
        path,
        format!(
            "holds another model than the configured one ({} differences):\n  {listed}{more}\nUse the configuration that \
             this checkpoint was trained with, or start a new run in another folder",
            differences.len()
        ),
    )
}

/// Says which number is the first that is not finite.
pub(super) fn check_finite(layout: &Layout, buffer: &[f32]) -> Result<(), String> {
    let Some(place) = buffer.iter().position(|number| !number.is_finite()) else {
        return Ok(());
    };
    let span = layout.spans().iter().find(|span| span.range.contains(&place));
    let (name, start) = span.map_or(("?", 0), |span| (span.name.as_str(), span.range.start));
    Err(format!("{name}: entry {} is {}", place - start, buffer[place]))
}

/// Says which name the layout has twice, for such a layout cannot be stored by name.
pub(super) fn check_names(layout: &Layout) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let twice = layout.spans().iter().find(|span| !seen.insert(&span.name));
    twice.map_or(Ok(()), |span| Err(format!("two parameters are named {:?}", span.name)))
}

/// SHA-256 over the little-endian bytes of the numbers, in hexadecimal: the name of a training result.
pub fn weights_sha256(numbers: &[f32]) -> String {
    let mut hash = Sha256::new();
    let mut bytes = Vec::new();
    for chunk in numbers.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|number| number.to_le_bytes()));
        hash.update(&bytes);
    }
    hex(&hash.finalize())
}
