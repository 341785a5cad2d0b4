//! What kind of program a file is.

/// What an ELF file says about who runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    /// The machine, as images name it.
    pub(crate) architecture: &'static str,
    /// The dynamic loader that starts it; none where it is linked statically.
    pub(crate) interpreter: Option<String>,
}

/// Type of the program header that names the loader (`PT_INTERP` of elf.h).
const PT_INTERP: u32 = 3;

impl Elf {
    /// Reads the head of a program; the error is what was found instead.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, &'static str> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err("another format");
        }
        // 64 bits, little endian.
        if bytes.get(4..6) != Some(&[2, 1]) {
            return Err("another word size or byte order");
        }
        let architecture = match half(bytes, 0x12) {
            Some(62) => "amd64",
            Some(183) => "arm64",
            _ => return Err("another machine"),
        };
        let cut = "a file that was cut short";
        let start = word(bytes, 0x20).ok_or(cut)?;
        let size = usize::from(half(bytes, 0x36).ok_or(cut)?);
        let count = usize::from(half(bytes, 0x38).ok_or(cut)?);
        let mut interpreter = None;
        for n in 0..count {
            let at = n.checked_mul(size).and_then(|it| it.checked_add(start)).ok_or(cut)?;
            let header = bytes.get(at..).and_then(|it| it.get(..0x38)).ok_or(cut)?;
            if u32::from_le_bytes([header[0], header[1], header[2], header[3]]) == PT_INTERP {
                let (from, length) = (word(header, 0x08).ok_or(cut)?, word(header, 0x20).ok_or(cut)?);
                let path = from.checked_add(length).and_then(|to| bytes.get(from..to)).ok_or(cut)?;
                interpreter = Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned());
            }
        }
        Ok(Self { architecture, interpreter })
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let value = bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)?;
    usize::try_from(value).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A program of one header: for this machine, with this loader.
    pub(crate) fn program(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 0x78];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x12..0x14].copy_from_slice(&machine.to_le_bytes());
        bytes[0x20] = 0x40;
        bytes[0x36] = 0x38;
        bytes[0x38] = 1;
        // PT_LOAD, unless there is a loader.
        bytes[0x40] = 1;
        if let Some(path) = interpreter {
            bytes[0x40] = 3;
            bytes[0x48] = 0x78;
            bytes[0x60] = u8::try_from(path.len() + 1).unwrap();
            bytes.extend(path.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn a_loader_is_seen() {
        let elf = Elf::of(&program(62, Some("/lib64/ld-linux-x86-64.so.2"))).unwrap();
        assert_eq!(elf.interpreter.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        let elf = Elf::of(&program(183, None)).unwrap();
        assert_eq!(elf, Elf { architecture: "arm64", interpreter: None });
    }

    #[test]
    fn what_is_no_program_is_told_and_nothing_makes_it_panic() {
        assert_eq!(Elf::of(b"#!/bin/sh\n"), Err("another format"));
        assert_eq!(Elf::of(&program(40, None)), Err("another machine"));
        let whole = program(62, Some("/lib/ld.so"));
        for end in 0..whole.len() {
            assert!(Elf::of(&whole[..end]).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            let _ = Elf::of(&damaged);
        }
    }

    #[test]
    fn this_very_program_is_read() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(["amd64", "arm64"].contains(&Elf::of(&own).unwrap().architecture));
    }
}
