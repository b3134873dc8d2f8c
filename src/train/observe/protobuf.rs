//! Protocol Buffers' wire format, as much of it as event files need.
//!
//! A message is a sequence of fields, each a tag (field number and wire type) followed by its value.

/// A message being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// The encoded message.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// An `int64`, `bool` or `enum` field; zero, the default, is left out.
    pub(super) fn integer(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.tag(field, 0);
            self.varint(value);
        }
        self
    }

    /// A `double` field.
    pub(super) fn double(mut self, field: u32, value: f64) -> Self {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A `float` field.
    pub(super) fn float(mut self, field: u32, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A `bytes` or `string` field.
    pub(super) fn bytes_field(mut self, field: u32, value: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// A field that is itself a message.
    pub(super) fn message(self, field: u32, value: &Message) -> Self {
        self.bytes_field(field, value.bytes())
    }

    /// A packed `repeated double` field.
    pub(super) fn doubles(self, field: u32, values: &[f64]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes_field(field, &packed)
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    /// Seven bits per byte from the lowest; the eighth says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_specification() {
        // The examples of the encoding guide: 150 in field 1, "testing" in field 2, a message in field 3.
        let number = Message::default().integer(1, 150);
        assert_eq!(number.bytes(), [0x08, 0x96, 0x01]);
        let text = Message::default().bytes_field(2, b"testing");
        assert_eq!(text.bytes(), [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        assert_eq!(Message::default().message(3, &number).bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().integer(1, 0).bytes(), [0u8; 0]);
        assert_eq!(Message::default().integer(1, u64::MAX).bytes().len(), 11);
    }
}
