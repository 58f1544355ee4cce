//! A directory with files, on a disk that has an end.

use std::collections::BTreeMap;

pub(super) const LOG: &str = "app.log";

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) names: BTreeMap<String, Node>,
    pub(super) files: Vec<File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// By its place in `files`.
    File(usize),
    /// A directory, a link, a socket.
    Other,
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// Uncompressed, whatever it is.
    pub(super) text: Vec<u8>,
    pub(super) compressed: bool,
    /// When its first text was written, or later, by a clock that stepped back since.
    pub(super) began: u64,
    /// More was written to it than fits, because it could not be rotated.
    pub(super) may_be_large: bool,
    /// The last line was written before all of it was there.
    pub(super) blindly: bool,
    /// When somebody moved or removed it.
    pub(super) astray_since: Option<crate::core::Time>,
}

impl File {
    pub(super) fn size(&self) -> u64 {
        let length = self.text.len() as u64;
        if self.compressed { length / 2 + 10 } else { length }
    }

    pub(super) fn mid_line(&self) -> bool {
        self.text.last().is_some_and(|last| *last != b'\n')
    }

    /// Its lines, of which the last need not be complete.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.text.split(|byte| *byte == b'\n');
        let count = lines.clone().count();
        lines.take(if self.mid_line() { count } else { count - 1 })
    }
}

impl Disk {
    pub(super) fn add(&mut self, name: &str, file: File) -> usize {
        self.files.push(file);
        self.names.insert(name.to_string(), Node::File(self.files.len() - 1));
        self.files.len() - 1
    }

    pub(super) fn at(&self, name: &str) -> Option<usize> {
        match self.names.get(name)? {
            Node::File(file) => Some(*file),
            Node::Other => None,
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|node| self.of(*node)).map(File::size).sum()
    }

    pub(super) fn of(&self, node: Node) -> Option<&File> {
        match node {
            Node::File(file) => Some(&self.files[file]),
            Node::Other => None,
        }
    }

    /// The archives by their stamps, oldest first, and the bytes of each.
    pub(super) fn archives(&self) -> BTreeMap<String, u64> {
        let mut archives = BTreeMap::new();
        for (name, node) in &self.names {
            if let (Some(stamp), Some(file)) = (stamp(name), self.of(*node)) {
                *archives.entry(stamp).or_default() += file.size();
            }
        }
        archives
    }

    /// Every line of the archives and then of the log.
    pub(super) fn all_lines(&self) -> Vec<Vec<u8>> {
        let archives = self.archives();
        let names = archives.keys().map(|stamp| {
            let plain = format!("{LOG}.{stamp}");
            let compressed = format!("{plain}.gz");
            if self.at(&compressed).is_some() { compressed } else { plain }
        });
        let files = names.chain([LOG.to_string()]).filter_map(|name| self.at(&name));
        files.flat_map(|file| self.files[file].lines().map(<[u8]>::to_vec)).collect()
    }
}

/// Of an archive, and nothing else: told without the code that is tested.
pub(super) fn stamp(name: &str) -> Option<String> {
    let rest = name.strip_prefix(LOG)?.strip_prefix('.')?;
    let stamp = rest.strip_suffix(".gz").unwrap_or(rest);
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let is_real = shape == "00000000T000000.000Z" && &stamp[4..6] <= "12";
    is_real.then(|| stamp.to_string())
}
