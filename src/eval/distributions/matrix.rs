//! Tables of numbers: one row for each sample, from NumPy's `.npy`, `.safetensors` and `.csv`.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};

/// What `.npy` files begin with; two bytes of version follow.
const NPY: &[u8] = b"\x93NUMPY";

/// Finite numbers in `n` rows and `d` columns, `n, d ≥ 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    values: Vec<f64>,
    columns: usize,
    names: Option<Vec<String>>,
}

impl Matrix {
    /// Of row-major values.
    ///
    /// # Errors
    /// When there are none, they are not whole rows, or one is not finite.
    pub fn new(values: Vec<f64>, columns: usize) -> Result<Self, String> {
        if values.is_empty() || columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(format!("{} numbers in rows of {columns}; expected whole rows", values.len()));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(i) => Err(format!("row {} column {} is {}", i / columns + 1, i % columns + 1, values[i])),
            None => Ok(Matrix { values, columns, names: None }),
        }
    }

    /// Reads a file: `.npy` with a 2-D array, `.safetensors` with one 2-D tensor, both f32 or f64, or `.csv`, of which the
    /// first line may name the columns. What a file is, is told by its name's ending.
    ///
    /// # Errors
    /// [`Error::Data`] with the file when it is damaged or something else; [`Error::Io`].
    pub fn read(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let parse = match ending.as_str() {
            "npy" => from_npy,
            "safetensors" => from_safetensors,
            "csv" => from_csv,
            _ => {
                let path = path.display();
                return Err(Error::Config(format!("{path}: expected *.npy, *.safetensors or *.csv")));
            }
        };
        let is_file = std::fs::metadata(path).map_err(Error::io(path))?.is_file();
        let bytes = if is_file { std::fs::read(path).map_err(Error::io(path))? } else { Vec::new() };
        parse(&bytes).map_err(|what| Error::Data(format!("{}: {what}", path.display())))
    }

    /// Number of rows, `n`.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    /// Number of columns, `d`.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The columns' names, where the file has them.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// All numbers, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rows.
    pub fn iter_rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns)
    }
}

/// A NumPy array, as `numpy.save` writes it (format 1, 2 and 3).
fn from_npy(bytes: &[u8]) -> Result<Matrix, String> {
    let no_npy = || "not a NumPy file, or cut".to_string();
    let rest = bytes.strip_prefix(NPY).ok_or_else(no_npy)?;
    let (header_length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(no_npy()),
    };
    let (header, data) = rest.split_at_checked(header_length).ok_or_else(no_npy)?;
    let header = std::str::from_utf8(header).map_err(|_| no_npy())?;
    let shape: Option<Vec<usize>> =
        value_of(header, "shape").and_then(|text| text.strip_prefix('(')?.split_once(')')).and_then(|(inside, _)| {
            inside.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().ok()).collect()
        });
    let kind =
        value_of(header, "descr").and_then(|text| text.strip_prefix('\'')?.split_once('\'')).map(|(kind, _)| kind);
    let by_column = match value_of(header, "fortran_order") {
        Some(text) if text.starts_with("False") => false,
        Some(text) if text.starts_with("True") => true,
        _ => return Err(no_npy()),
    };
    let (Some(shape), Some(kind)) = (shape, kind) else { return Err(no_npy()) };
    let values = match kind {
        "<f4" => numbers(data, |b: [u8; 4]| f32::from_le_bytes(b).into()),
        "<f8" => numbers(data, f64::from_le_bytes),
        ">f4" => numbers(data, |b: [u8; 4]| f32::from_be_bytes(b).into()),
        ">f8" => numbers(data, f64::from_be_bytes),
        other => return Err(format!("an array of {other}; expected f4 or f8 (float32, float64)")),
    }?;
    let (rows, columns) = whole(&values, &shape)?;
    match by_column {
        false => Matrix::new(values, columns),
        true => Matrix::new((0..rows * columns).map(|i| values[i % columns * rows + i / columns]).collect(), columns),
    }
}

/// What follows `'key':` in a header, which is a Python dictionary.
fn value_of<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    Some(rest.trim_start())
}

/// The one tensor of a safetensors file.
fn from_safetensors(bytes: &[u8]) -> Result<Matrix, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| format!("not a safetensors file, or damaged: {e}"))?;
    let tensors = file.tensors();
    let [(name, tensor)] = tensors.as_slice() else {
        return Err(format!("{} tensors; expected one", tensors.len()));
    };
    let values = match tensor.dtype() {
        Dtype::F32 => numbers(tensor.data(), |b: [u8; 4]| f32::from_le_bytes(b).into()),
        Dtype::F64 => numbers(tensor.data(), f64::from_le_bytes),
        other => return Err(format!("tensor '{name}' of {other:?}; expected F32 or F64")),
    }?;
    let (_, columns) = whole(&values, tensor.shape())?;
    Matrix::new(values, columns)
}

/// Numbers of `W` bytes each.
fn numbers<const W: usize>(data: &[u8], number: impl Fn([u8; W]) -> f64) -> Result<Vec<f64>, String> {
    match data.as_chunks::<W>() {
        (numbers, []) => Ok(numbers.iter().map(|bytes| number(*bytes)).collect()),
        _ => Err(format!("{} bytes of numbers of {W} bytes each; is it cut?", data.len())),
    }
}

/// The shape, if it is that of a table and the numbers are as many.
fn whole(values: &[f64], shape: &[usize]) -> Result<(usize, usize), String> {
    let [rows, columns] = *shape else {
        return Err(format!("an array of shape {shape:?}; expected two dimensions, samples × columns"));
    };
    match rows.checked_mul(columns) == Some(values.len()) {
        true => Ok((rows, columns)),
        false => Err(format!("shape {shape:?} does not fit the file's {} numbers; is it cut?", values.len())),
    }
}

/// Numbers separated by commas; a first line that has something else names the columns.
fn from_csv(bytes: &[u8]) -> Result<Matrix, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(bytes);
    let (mut values, mut columns, mut names) = (Vec::new(), 0, None);
    for (i, record) in reader.records().enumerate() {
        let record = record.map_err(|e| e.to_string())?;
        columns = record.len();
        let row: Result<Vec<f64>, _> = record.iter().map(|field| field.parse().map_err(|_| field)).collect();
        match row {
            Ok(row) => values.extend(row),
            Err(_) if i == 0 => names = Some(record.iter().map(str::to_string).collect()),
            Err(field) => {
                let line = record.position().map_or(0, csv::Position::line);
                return Err(format!("line {line}: '{}' is no number", field.chars().take(40).collect::<String>()));
            }
        }
    }
    let matrix = Matrix::new(values, columns)?;
    Ok(Matrix { names, ..matrix })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        [NPY, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn numpys_arrays_by_row_and_by_column() {
        let data = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let by_row = from_npy(&npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", &data)).unwrap();
        assert_eq!((by_row.rows(), by_row.columns()), (2, 3));
        assert_eq!(by_row.values(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let by_column = from_npy(&npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", &data)).unwrap();
        assert_eq!(by_column.values(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let data: Vec<u8> = [0.1f64, -2.5].iter().flat_map(|x| x.to_be_bytes()).collect();
        let big = from_npy(&npy("{'descr':'>f8','fortran_order':False,'shape':(1,2)}", &data)).unwrap();
        assert_eq!(big.values(), [0.1, -2.5]);
    }

    #[test]
    fn damaged_arrays_are_refused_whatever_they_claim() {
        let data = floats(&[1.0, 2.0, f32::NAN, 4.0]);
        let header = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let whole = npy(&header("(2, 2)"), &data);
        for (bytes, expected) in [
            (whole.clone(), "row 2 column 1 is NaN"),
            (whole[..whole.len() - 1].to_vec(), "15 bytes of numbers of 4 bytes each; is it cut?"),
            (whole[..whole.len() - 4].to_vec(), "does not fit the file's 3 numbers"),
            (whole[..40].to_vec(), "not a NumPy file, or cut"),
            (npy(&header("(18446744073709551615, 18446744073709551615)"), &data), "does not fit"),
            (npy(&header("(4611686018427387904, 1)"), &data), "does not fit"),
            (npy(&header("(4,)"), &data), "two dimensions"),
            (npy(&header("(-2, -2)"), &data), "not a NumPy file"),
            (npy(&header("(0, 4)"), &[]), "expected whole rows"),
            (npy(&header("(4, 0)"), &[]), "expected whole rows"),
            (npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }", &data), "an array of |O"),
            (npy("{'descr': '<f4', 'shape': (2, 2), }", &data), "not a NumPy file"),
            (b"PK\x03\x04".to_vec(), "not a NumPy file"),
            (Vec::new(), "not a NumPy file"),
        ] {
            let message = from_npy(&bytes).unwrap_err();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }

    #[test]
    fn tables_may_name_their_columns() {
        let plain = from_csv(b"1, 2\r\n3,4e-1\n").unwrap();
        assert_eq!((plain.values(), plain.names()), (&[1.0, 2.0, 3.0, 0.4][..], None));
        let named = from_csv(b"1.10,x\n1,2\n").unwrap();
        assert_eq!(named.values(), [1.0, 2.0]);
        assert_eq!(named.names().unwrap(), ["1.10", "x"]);
        for (text, expected) in [
            ("1,2\n3\n", "found record with 1 fields"),
            ("a,b\n1,c\n", "line 2: 'c' is no number"),
            ("a,b\n", "expected whole rows"),
            ("", "expected whole rows"),
            ("1,inf\n", "row 1 column 2 is inf"),
        ] {
            let message = from_csv(text.as_bytes()).unwrap_err();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
