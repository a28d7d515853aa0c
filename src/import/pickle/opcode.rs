//! The instructions of a pickle by name: those that are read, those that are refused, and why.

/// What is to be done with an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Read,
    /// It makes objects of a program, or takes them from elsewhere.
    Forbidden,
    /// Harmless, but of protocol 0, or never written for plain data.
    Unsupported,
}

macro_rules! opcodes {
    ($($treatment:ident: $($name:ident = $byte:literal),* $(,)?;)*) => {
        $($(#[doc = concat!("The byte of ", stringify!($name), ".")]
        #[allow(dead_code, reason = "what is refused is known by its name only")]
        pub(super) const $name: u8 = $byte;)*)*

        /// The name of an instruction and what is to be done with it; `None` for what is none.
        pub(super) fn describe(byte: u8) -> Option<(&'static str, Treatment)> {
            match byte {
                $($($byte => Some((stringify!($name), Treatment::$treatment)),)*)*
                _ => None,
            }
        }
    };
}

opcodes! {
    Read:
        PROTO = 0x80, FRAME = 0x95, STOP = b'.', MARK = b'(', POP = b'0', POP_MARK = b'1',
        NONE = b'N', NEWTRUE = 0x88, NEWFALSE = 0x89,
        BININT = b'J', BININT1 = b'K', BININT2 = b'M', LONG1 = 0x8a, LONG4 = 0x8b, BINFLOAT = b'G',
        BINUNICODE = b'X', SHORT_BINUNICODE = 0x8c, BINUNICODE8 = 0x8d,
        BINSTRING = b'T', SHORT_BINSTRING = b'U',
        BINBYTES = b'B', SHORT_BINBYTES = b'C', BINBYTES8 = 0x8e, BYTEARRAY8 = 0x96,
        EMPTY_LIST = b']', APPEND = b'a', APPENDS = b'e', LIST = b'l',
        EMPTY_DICT = b'}', SETITEM = b's', SETITEMS = b'u', DICT = b'd',
        EMPTY_TUPLE = b')', TUPLE = b't', TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87,
        EMPTY_SET = 0x8f, ADDITEMS = 0x90, FROZENSET = 0x91,
        BINPUT = b'q', LONG_BINPUT = b'r', MEMOIZE = 0x94, BINGET = b'h', LONG_BINGET = b'j';
    Forbidden:
        GLOBAL = b'c', STACK_GLOBAL = 0x93, REDUCE = b'R', BUILD = b'b', OBJ = b'o', INST = b'i',
        NEWOBJ = 0x81, NEWOBJ_EX = 0x92, PERSID = b'P', BINPERSID = b'Q',
        EXT1 = 0x82, EXT2 = 0x83, EXT4 = 0x84, NEXT_BUFFER = 0x97, READONLY_BUFFER = 0x98;
    Unsupported:
        DUP = b'2', INT = b'I', LONG = b'L', FLOAT = b'F', STRING = b'S', UNICODE = b'V', PUT = b'p', GET = b'g';
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_of_python_has_its_name() {
        let known = (0..=u8::MAX).filter_map(describe).count();
        assert_eq!(known, 68);
        assert_eq!(describe(b'R'), Some(("REDUCE", Treatment::Forbidden)));
        assert_eq!(describe(0), None);
    }
}
