//! Messages of protocol buffers as text, by their wire format alone: numbers of fields, and values.

use crate::shape::shape;

/// Leases have numbers from here on; revisions do not get there.
const LEASES: u64 = 1 << 40;

/// The fields of a message; none of what is no message.
pub(crate) fn fields(mut bytes: &[u8]) -> Option<String> {
    let mut told = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => match varint(&mut bytes)? {
                lease if lease >= LEASES => "<lease>".to_owned(),
                number => number.to_string(),
            },
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                text(value).or_else(|| fields(value)).unwrap_or_else(|| format!("{value:x?}"))
            }
            // etcd has no others.
            _ => return None,
        };
        told.push(format!("{}:{value}", tag >> 3));
    }
    Some(format!("{{{}}}", told.join(" ")))
}

/// No message begins with what can be printed: its first field has a low number.
fn text(value: &[u8]) -> Option<String> {
    let printed = std::str::from_utf8(value).ok().filter(|text| !text.chars().any(char::is_control))?;
    (!printed.is_empty()).then(|| format!("{:?}", shape(printed)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[test]
fn a_message_is_told_by_its_fields() {
    let message = [&[0x0a, 4, 0x0a, 2, b'h', b'i'][..], &[0x10, 0xac, 0x02], &[0x1a, 2, 0xff, 0xff]].concat();
    assert_eq!(fields(&message).unwrap(), r#"{1:{1:"hi"} 2:300 3:[ff, ff]}"#);
    assert_eq!(fields(&[0x0a, 4, 1]), None, "it is cut off");
}
