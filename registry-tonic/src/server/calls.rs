//! Which calls are under way on a connection, told by the heads of its HTTP/2 frames. Pure.

use std::collections::HashSet;

/// What a client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// The calls of one connection. A call is under way from its first frame until the last one of its answer was handed to the system, or until either
/// side has reset it.
#[derive(Debug)]
pub(super) struct Calls {
    /// What is left of the preface; none: another protocol is spoken, such as TLS, and nothing is known.
    preface: Option<&'static [u8]>,
    read: Frames,
    written: Frames,
    open: HashSet<u32>,
    last: u32,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            preface: Some(PREFACE),
            read: Frames::default(),
            written: Frames::default(),
            open: HashSet::new(),
            last: 0,
        }
    }

    /// Whether it is known that there is none.
    pub(super) fn are_none(&self) -> bool {
        self.preface.is_some() && self.open.is_empty()
    }

    /// The client has sent this.
    pub(super) fn read(&mut self, mut data: &[u8]) {
        let Some(preface) = self.preface else { return };
        let (said, rest) = data.split_at(data.len().min(preface.len()));
        data = rest;
        self.preface = preface.strip_prefix(said);
        if self.preface.is_none() {
            self.open = HashSet::new();
            return;
        }
        let (open, last) = (&mut self.open, &mut self.last);
        self.read.take(data, |frame| match frame.kind {
            // A second one ends what the client says.
            HEADERS if frame.stream > *last => {
                *last = frame.stream;
                open.insert(frame.stream);
            }
            RST_STREAM => drop(open.remove(&frame.stream)),
            _ => {}
        });
    }

    /// The server has sent this.
    pub(super) fn written(&mut self, data: &[u8]) {
        if self.preface.is_none() {
            return;
        }
        let open = &mut self.open;
        self.written.take(data, |frame| {
            let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            if ends || frame.kind == RST_STREAM {
                open.remove(&frame.stream);
            }
        });
    }
}

/// The head of a frame (RFC 9113, 4.1).
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// The frames in one direction, which come in pieces of any length.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 9],
    /// So much of the head is there.
    filled: usize,
    /// So many bytes come before the next head.
    skip: usize,
}

impl Frames {
    /// Tells of each frame whose end is in `data`.
    fn take(&mut self, mut data: &[u8], mut tell: impl FnMut(Head)) {
        loop {
            if self.filled == self.head.len() {
                let skipped = self.skip.min(data.len());
                data = data.split_at(skipped).1;
                self.skip -= skipped;
                if self.skip > 0 {
                    return;
                }
                let [_, _, _, kind, flags, a, b, c, d] = self.head;
                tell(Head { kind, flags, stream: u32::from_be_bytes([a & 0x7f, b, c, d]) });
                self.filled = 0;
            }
            if data.is_empty() {
                return;
            }
            let room = self.head.split_at_mut(self.filled).1;
            let (head, rest) = data.split_at(room.len().min(data.len()));
            room.split_at_mut(head.len()).0.copy_from_slice(head);
            (data, self.filled) = (rest, self.filled + head.len());
            if self.filled == self.head.len() {
                let [a, b, c, ..] = self.head;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(std::iter::repeat_n(HEADERS, payload));
        frame
    }

    fn after(read: &[Vec<u8>], written: &[Vec<u8>], piece: usize) -> Calls {
        let mut calls = Calls::new();
        let all = [PREFACE.to_vec(), frame(4, 0, 0, 18)].into_iter().chain(read.iter().cloned());
        all.collect::<Vec<_>>().concat().chunks(piece).for_each(|piece| calls.read(piece));
        written.concat().chunks(piece).for_each(|piece| calls.written(piece));
        calls
    }

    #[test]
    fn a_call_is_under_way_until_its_answer_has_ended_or_it_is_reset() {
        let asked = [frame(HEADERS, 4, 1, 30), frame(DATA, END_STREAM, 1, 300), frame(HEADERS, 4, 3, 0)];
        let answers = [frame(HEADERS, 4, 1, 7), frame(DATA, 0, 1, 70), frame(HEADERS, 4 | END_STREAM, 1, 9)];
        for piece in [1, 2, 8, 9, 10, 1_000] {
            assert!(after(&[], &[], piece).are_none(), "{piece}");
            assert_eq!(after(&asked, &[], piece).open, HashSet::from([1, 3]), "{piece}");
            assert_eq!(after(&asked, &answers[..2], piece).open, HashSet::from([1, 3]), "{piece}");
            assert_eq!(after(&asked, &answers, piece).open, HashSet::from([3]), "{piece}");
            let reset = frame(RST_STREAM, 0, 3, 4);
            assert!(after(&asked, &[answers.concat(), reset.clone()], piece).are_none(), "{piece}");
            assert!(after(&[asked.concat(), reset], &answers, piece).are_none(), "{piece}");
        }
    }

    #[test]
    fn what_a_client_says_last_is_no_other_call() {
        let asked = [frame(HEADERS, 4, 1, 3), frame(HEADERS, 4 | END_STREAM, 1, 3)];
        let answer = [frame(HEADERS, 4 | END_STREAM, 1, 3)];
        let mut calls = after(&asked[..1], &answer, 9);
        calls.read(&asked[1]);
        assert!(calls.are_none());
    }

    #[test]
    fn of_another_protocol_nothing_is_known() {
        for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"] {
            let mut calls = Calls::new();
            calls.read(other);
            assert!(!calls.are_none());
        }
    }
}
