//! What the file of a program says of it: its `#!` line, or its ELF headers (elf(5)). What the program will do it does not
//! say.
#![forbid(unsafe_code)]

use object::elf::{self, FileHeader64, Machine};
use object::endian::LittleEndian;
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader, SectionTable};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Result, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Length of the `#!` line that the kernel reads (BINPRM_BUF_SIZE).
const HEAD_BYTES: usize = 256;
const MACHINE: Machine = if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };
/// What Go's own linker leaves in every program, stripped or not.
const GO_SECTIONS: [&[u8]; 2] = [b".go.buildinfo", b".note.go.buildid"];

/// What the kernel would do with a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// `#!`, and the interpreter.
    Script(PathBuf),
    /// An ELF file of this machine.
    Elf(Elf),
    /// An ELF file of another machine or word size.
    Foreign,
    /// Neither; execvp(3) hands it to /bin/sh.
    Other,
}

/// An ELF file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Elf {
    /// The dynamic linker; None of what is linked statically.
    pub(crate) linker: Option<PathBuf>,
    /// The libraries that it names itself.
    pub(crate) libraries: Vec<String>,
    /// Whether Go's linker made it.
    pub(crate) go: bool,
}

impl Image {
    pub(crate) fn read(path: &Path) -> Result<Image> {
        let file = File::open(path)?;
        let mut head = [0; HEAD_BYTES];
        let length = file.read_at(&mut head, 0)?;
        let head = &head[..length];
        Ok(if let Some(line) = head.strip_prefix(b"#!") {
            interpreter(line).map_or(Image::Other, Image::Script)
        } else if head.starts_with(&elf::ELFMAG) {
            Image::of_elf(file)
        } else {
            Image::Other
        })
    }

    fn of_elf(file: impl std::io::Read + Seek) -> Image {
        let data = &ReadCache::new(file);
        let Ok(header) = FileHeader64::<LittleEndian>::parse(data) else { return Image::Foreign };
        if !header.is_little_endian() || header.e_machine(LittleEndian) != MACHINE {
            return Image::Foreign;
        }
        let Ok(segments) = header.program_headers(LittleEndian, data) else { return Image::Other };
        let mut linker = None;
        for segment in segments {
            match segment.interpreter(LittleEndian, data) {
                Ok(Some(name)) => linker = Some(PathBuf::from(OsStr::from_bytes(name))),
                Ok(None) => {}
                // execve(2) refuses it.
                Err(_) => return Image::Other,
            }
        }
        // Nothing needs sections at run time: where they are damaged, they are as good as none.
        let sections = header.sections(LittleEndian, data).unwrap_or_default();
        let go = GO_SECTIONS.iter().any(|name| sections.section_by_name(LittleEndian, name).is_some());
        Image::Elf(Elf { linker, libraries: libraries(&sections, data), go })
    }
}

/// The libraries that the dynamic section names (DT_NEEDED).
fn libraries<'data, R: object::ReadRef<'data>>(
    sections: &SectionTable<'data, FileHeader64<LittleEndian>, R>,
    data: R,
) -> Vec<String> {
    let table = sections.dynamic_table(LittleEndian, data).unwrap_or_default();
    let needed = table.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    let names = needed.filter_map(|entry| table.string(entry).ok());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The interpreter of a `#!` line: the first word.
fn interpreter(line: &[u8]) -> Option<PathBuf> {
    let line = line.split(|&byte| byte == b'\n').next()?;
    let word = line.split(|byte| b" \t\0".contains(byte)).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A little-endian 64-bit ELF file with one program header of type `kind`.
    fn file(class: u8, machine: u16, kind: u32, linker: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72] = 120;
        file[96..104].copy_from_slice(&(linker.len() as u64).to_le_bytes());
        file.extend(linker);
        file
    }

    fn parsed(file: &[u8]) -> Image {
        Image::of_elf(Cursor::new(file))
    }

    fn linked_by(linker: Option<&str>) -> Image {
        Image::Elf(Elf { linker: linker.map(PathBuf::from), ..Elf::default() })
    }

    #[test]
    fn headers() {
        let linker = b"/lib64/ld-linux-x86-64.so.2\0";
        assert_eq!(parsed(&file(2, 62, 3, linker)), linked_by(Some("/lib64/ld-linux-x86-64.so.2")));
        assert_eq!(parsed(&file(2, 62, 1, b"")), linked_by(None));
        assert_eq!(parsed(&file(1, 62, 3, linker)), Image::Foreign);
        assert_eq!(parsed(&file(2, 40, 3, linker)), Image::Foreign);
        let whole = file(2, 62, 3, linker);
        for length in 4..whole.len() {
            let cut = parsed(&whole[..length]);
            assert!(matches!(cut, Image::Foreign | Image::Other), "{length} bytes: {cut:?}");
        }
    }

    #[test]
    fn sections_that_are_damaged_hide_nothing_else() {
        let mut damaged = file(2, 62, 1, b"");
        // e_shoff beyond the end, e_shentsize of nothing.
        damaged[40] = 255;
        damaged[60] = 1;
        assert_eq!(parsed(&damaged), linked_by(None));
    }

    #[test]
    fn this_program() {
        let exe = std::env::current_exe().expect("a running program has a file");
        let Ok(Image::Elf(elf)) = Image::read(&exe) else { panic!("{} is no program", exe.display()) };
        assert!(elf.linker.is_some() && !elf.go, "{elf:?}");
        assert!(elf.libraries.iter().any(|library| library == "libc.so.6"), "{elf:?}");
    }

    #[test]
    fn script_lines() {
        let table: [(&[u8], Option<&str>); 5] = [
            (b"/bin/sh\n", Some("/bin/sh")),
            (b" \t/usr/bin/env python3\nrest", Some("/usr/bin/env")),
            (b"/bin/sh", Some("/bin/sh")),
            (b"\n/bin/sh", None),
            (b"", None),
        ];
        for (line, expected) in table {
            assert_eq!(interpreter(line), expected.map(PathBuf::from));
        }
    }
}
