//! One shard: an Arrow file mapped into memory, its record batches decoded when a row is asked for.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::ArrowError;
use bytes::Bytes;
use memmap2::Mmap;

use super::schema::{Kind, ROWS_PER_BATCH, chain_column};
use crate::{Error, Result};

/// What an Arrow file begins and ends with.
const MAGIC: &[u8] = b"ARROW1";
/// The file's tail: the footer's length (4 bytes) and the magic.
const TAIL: usize = 10;

/// A mapped Arrow file. Opening reads its footer only; the operating system pages the rest in and out, so
/// any number of shards costs next to no memory. Nothing in the file is trusted: each length is checked
/// against the file before it is used.
///
/// The file must not be shortened while it is mapped (the system then ends the process with SIGBUS);
/// deleting or replacing it does no harm.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    bytes: Buffer,
    blocks: Vec<Block>,
    decoder: FileDecoder,
    /// Decodes a column alone that has an element for each point.
    points_decoder: FileDecoder,
    /// Decodes the column of the clusters alone; of chains.
    clusters_decoder: Option<FileDecoder>,
    rows: usize,
}

impl Shard {
    /// Maps a file that should hold `rows` samples of a kind.
    pub fn open(path: &Path, kind: Kind, rows: usize) -> Result<Self> {
        let bytes = map(path)?;
        let damaged = |what: String| Error::Data(format!("{}: {what}", path.display()));
        let footer = footer_bytes(&bytes).map_err(damaged)?;
        let footer = root_as_footer(footer).map_err(|e| damaged(format!("damaged footer: {e}")))?;
        let schema = footer.schema().ok_or_else(|| damaged("the footer has no schema".into()))?;
        let schema = try_fb_to_schema(schema).map_err(|e| damaged(format!("damaged schema: {e}")))?;
        if schema.fields() != kind.schema().fields() {
            let (name, fields) = (kind.name(), schema.fields());
            return Err(damaged(format!("its columns are not those of a qsd shard of {name}: {fields:?}")));
        }
        let blocks: Vec<Block> = footer.recordBatches().map(|b| b.iter().copied().collect()).unwrap_or_default();
        if blocks.len() != rows.div_ceil(ROWS_PER_BATCH) {
            let expected = rows.div_ceil(ROWS_PER_BATCH);
            return Err(damaged(format!(
                "{} record batches, but {rows} {} need {expected}",
                blocks.len(),
                kind.name()
            )));
        }
        let version = footer.version();
        let decoder = || FileDecoder::new(kind.schema().clone(), version);
        let only = |column| decoder().with_projection(vec![column]);
        let points_decoder = only(kind.points_column());
        let clusters_decoder = (kind == Kind::Chains).then(|| only(chain_column::CLUSTER));
        let path = path.to_path_buf();
        Ok(Shard { path, bytes, blocks, decoder: decoder(), points_decoder, clusters_decoder, rows })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The record batch that holds a row, and the row's place in it. The arrays are views of the mapping.
    ///
    /// # Errors
    /// [`Error::Data`] with the file and the batch when it is damaged.
    pub fn batch_of(&self, row: usize) -> Result<(RecordBatch, usize)> {
        Ok((self.decode(&self.decoder, row / ROWS_PER_BATCH)?, row % ROWS_PER_BATCH))
    }

    /// Number of points in a row.
    ///
    /// # Errors
    /// As [`Shard::batch_of`].
    pub fn num_points(&self, row: usize) -> Result<usize> {
        let batch = self.decode(&self.points_decoder, row / ROWS_PER_BATCH)?;
        Ok(batch.column(0).as_list::<i32>().value_length(row % ROWS_PER_BATCH) as usize)
    }

    /// Tells the name of each row's cluster, in order; empty where it has none. Molecules have none.
    ///
    /// # Errors
    /// As [`Shard::batch_of`].
    pub fn for_each_cluster(&self, mut tell: impl FnMut(&str)) -> Result<()> {
        for number in 0..self.blocks.len() {
            match &self.clusters_decoder {
                Some(decoder) => {
                    let batch = self.decode(decoder, number)?;
                    batch.column(0).as_string::<i32>().iter().for_each(|name| tell(name.unwrap_or_default()));
                }
                None => (0..ROWS_PER_BATCH.min(self.rows - number * ROWS_PER_BATCH)).for_each(|_| tell("")),
            }
        }
        Ok(())
    }

    fn decode(&self, decoder: &FileDecoder, number: usize) -> Result<RecordBatch> {
        let damaged = |what: String| self.damaged(number, what);
        let block = self.blocks.get(number).ok_or_else(|| damaged("there is no such batch".into()))?;
        let range = block_range(block, self.bytes.len()).ok_or_else(|| damaged("lies outside of the file".into()))?;
        let data = self.bytes.slice_with_length(range.start, range.len());
        check_message(&data, block).map_err(damaged)?;
        let batch = decoder.read_record_batch(block, &data).map_err(|e: ArrowError| damaged(e.to_string()))?;
        let batch = batch.ok_or_else(|| damaged("is empty".into()))?;
        let expected = ROWS_PER_BATCH.min(self.rows - number * ROWS_PER_BATCH);
        if batch.num_rows() != expected {
            return Err(damaged(format!("has {} rows in place of {expected}", batch.num_rows())));
        }
        Ok(batch)
    }

    fn damaged(&self, batch: usize, what: String) -> Error {
        let (first, last) = (batch * ROWS_PER_BATCH, self.rows.min((batch + 1) * ROWS_PER_BATCH));
        Error::Data(format!("{}: records {first}..{last} (batch {batch}): {what}", self.path.display()))
    }
}

/// Maps a file for reading.
fn map(path: &Path) -> Result<Buffer> {
    let file = File::open(path).map_err(Error::io(path))?;
    // SAFETY: a mapping is only unsound when someone changes the file meanwhile. Shards are written once, under
    // a temporary name, and never changed after; the type's doc states the requirement.
    let mapping = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
    Ok(Buffer::from(Bytes::from_owner(mapping)))
}

/// The footer's bytes, or what is wrong with the frame around it.
fn footer_bytes(file: &[u8]) -> Result<&[u8], String> {
    if file.len() < MAGIC.len() + TAIL || !file.starts_with(MAGIC) {
        return Err(format!("not an Arrow file ({} bytes)", file.len()));
    }
    let (body, tail) = file.split_at(file.len() - TAIL);
    let tail = tail.try_into().expect("split at its length");
    let length = read_footer_length(tail).map_err(|_| "its end is missing: the file is truncated".to_string())?;
    let start = body.len().checked_sub(length).ok_or_else(|| format!("footer of {length} bytes exceeds the file"))?;
    Ok(&body[start..])
}

/// Where a block stands in a file of `size` bytes; `None` when not wholly inside.
fn block_range(block: &Block, size: usize) -> Option<Range<usize>> {
    let start = usize::try_from(block.offset()).ok()?;
    let metadata = usize::try_from(block.metaDataLength()).ok()?;
    let body = usize::try_from(block.bodyLength()).ok()?;
    let end = start.checked_add(metadata)?.checked_add(body)?;
    (end <= size).then_some(start..end)
}

/// Checks what the decoder takes for granted: that the message is an uncompressed record batch whose buffers
/// lie inside of its body and whose lengths are no larger.
fn check_message(data: &[u8], block: &Block) -> Result<(), String> {
    let body = block.bodyLength() as usize;
    let metadata = &data[..block.metaDataLength() as usize];
    // An optional marker of four 0xff bytes, the length, the message.
    let frame = if metadata.starts_with(&[0xff; 4]) { 8 } else { 4 };
    let message = metadata.get(frame..).ok_or("has no header")?;
    let message = root_as_message(message).map_err(|e| format!("damaged header: {e}"))?;
    if message.header_type() != MessageHeader::RecordBatch {
        return Err(format!("is a message of another kind: {:?}", message.header_type()));
    }
    let batch = message.header_as_record_batch().ok_or("has no header")?;
    if batch.compression().is_some() {
        return Err("is compressed; shards are uncompressed so that they can be mapped".into());
    }
    let length_ok = |n: i64| usize::try_from(n).is_ok_and(|n| n <= body);
    for node in batch.nodes().iter().flatten() {
        if !length_ok(node.length()) || node.null_count() != 0 {
            return Err(format!("a column claims {} values, {} of them null", node.length(), node.null_count()));
        }
    }
    for buffer in batch.buffers().iter().flatten() {
        let end = buffer.offset().checked_add(buffer.length());
        if !length_ok(buffer.offset()) || !length_ok(buffer.length()) || !end.is_some_and(length_ok) {
            return Err(format!("a buffer at {}+{} lies outside", buffer.offset(), buffer.length()));
        }
    }
    Ok(())
}
