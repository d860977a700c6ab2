//! What a node says of the cluster.

use std::ops::RangeInclusive;

/// How many slots there are.
pub(super) const SLOTS: u16 = 16384;

/// The answer to `CLUSTER NODES`.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    pub(super) nodes: Vec<Seen>,
}

/// One node as another, or itself, sees it.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) id: String,
    flags: Vec<String>,
    /// Whose replica it is.
    pub(super) primary: Option<String>,
    /// Of two that claim a slot, the one of the higher epoch has it.
    pub(super) epoch: u64,
    slots: Vec<RangeInclusive<u16>>,
}

impl View {
    pub(super) fn parse(text: &str) -> Self {
        Self { nodes: text.lines().filter_map(Seen::parse).collect() }
    }

    pub(super) fn myself(&self) -> Option<&Seen> {
        self.nodes.iter().find(|seen| seen.is("myself"))
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Seen> {
        self.nodes.iter().find(|seen| seen.slots.iter().any(|range| range.contains(&slot)))
    }

    /// Who has which slots, in an order that does not depend on who says so.
    pub(super) fn slots(&self) -> Vec<(RangeInclusive<u16>, &str)> {
        let ranges = |seen: &'_ Seen| seen.slots.clone();
        let mut slots: Vec<_> = self
            .nodes
            .iter()
            .flat_map(|seen| ranges(seen).into_iter().map(|range| (range, seen.id.as_str())))
            .collect();
        slots.sort_by_key(|(range, _)| *range.start());
        slots
    }
}

impl Seen {
    /// Columns: id, address, flags, primary, ping, pong, epoch, link, slots.
    fn parse(line: &str) -> Option<Self> {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [id, _, flags, primary, _, _, epoch, _, slots @ ..] = columns.as_slice() else { return None };
        // A slot that is being moved stands in brackets, and once more without if it is one's own.
        let slots = slots.iter().filter_map(|slots| {
            let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
            Some(first.parse().ok()?..=last.parse().ok()?)
        });
        Some(Self {
            id: (*id).to_owned(),
            flags: flags.split(',').map(str::to_owned).collect(),
            primary: (*primary != "-").then(|| (*primary).to_owned()),
            epoch: epoch.parse().ok()?,
            slots: slots.collect(),
        })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|has| has == flag)
    }

    pub(super) fn is_primary(&self) -> bool {
        self.is("master")
    }

    /// Known, and not taken for dead.
    pub(super) fn is_sound(&self) -> bool {
        !["handshake", "noaddr", "fail", "fail?"].into_iter().any(|flag| self.is(flag))
    }
}

/// The slot of a key: of what stands between its first braces, if that is not empty, else of all of it.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let position = |bytes: &[u8], wanted: u8| bytes.iter().position(|byte| *byte == wanted);
    let tag = position(key, b'{').and_then(|open| {
        let rest = &key[open + 1..];
        position(rest, b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{View, crc16, slot_of};

    #[test]
    fn the_slot_is_that_of_the_hash_tag() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16384);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }

    #[test]
    fn a_view_tells_roles_epochs_and_slots_and_not_what_is_being_moved() {
        let view = View::parse(
            "aaa 127.0.0.1:1@2 myself,master - 0 0 7 connected 0-5460 9000 [9001->-bbb]\nbbb 127.0.0.1:3@4,, slave,fail? aaa 0 0 7 disconnected\n",
        );
        assert_eq!(view.myself().unwrap().epoch, 7);
        assert_eq!(view.slots(), [(0..=5460, "aaa"), (9000..=9000, "aaa")]);
        assert_eq!(view.owner(9000).unwrap().id, "aaa");
        assert!(view.owner(9001).is_none());
        assert_eq!(view.nodes[1].primary.as_deref(), Some("aaa"));
        assert!(!view.nodes[1].is_sound() && !view.nodes[1].is_primary());
    }
}
