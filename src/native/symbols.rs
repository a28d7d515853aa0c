//! What addresses mean: the function, the file and line, the variable.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use object::{Object, ObjectSymbol, SymbolKind};

/// The files that a program is made of, and where they are in its memory.
pub(crate) struct Symbols {
    modules: Vec<Module>,
    loaded: RefCell<BTreeMap<PathBuf, Option<Loaded>>>,
}

#[derive(Clone, Debug)]
struct Module {
    path: PathBuf,
    begin: u64,
    end: u64,
    offset: u64,
}

struct Loaded {
    loader: Loader,
    /// Ascending; as are the functions.
    variables: Vec<Symbol>,
    functions: Vec<Symbol>,
    /// What file offset 0 is linked to.
    segments: Vec<(u64, u64, u64)>,
}

/// What a file's table of symbols says of one. Few are ever asked for: a name is demangled then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol {
    begin: u64,
    size: u64,
    name: String,
}

/// A variable of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: String,
    /// Where it begins in memory.
    pub(crate) begin: u64,
    /// How large it is, in bytes.
    pub(crate) size: u64,
}

/// A place in a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The function, without its arguments' types.
    pub(crate) function: Option<String>,
    /// The file, and the line.
    pub(crate) line: Option<(String, u32)>,
    /// The file's whole path, as the compiler was told it.
    pub(crate) path: Option<String>,
    /// The file that the code is in, and where in it: the same in every run.
    pub(crate) module: String,
    /// Whether that is the program itself, not a library, and not a header of the system.
    pub(crate) is_own: bool,
}

impl Symbols {
    /// Of a process, by its `/proc/PID/maps`.
    pub(crate) fn new(maps: &str) -> Symbols {
        let mut modules: Vec<Module> = Vec::new();
        for line in maps.lines() {
            match (module_of(line), modules.last_mut()) {
                (Some(module), _) => modules.push(module),
                // Zeroed memory that follows a file's own belongs to it.
                (None, Some(last)) if line.starts_with(&format!("{:08x}-", last.end)) => {
                    last.end = end_of(line).unwrap_or(last.end);
                }
                _ => {}
            }
        }
        Symbols {
            modules,
            loaded: RefCell::default(),
        }
    }

    /// Where `pc` is: of what the compiler has put into one another, what is the program's own.
    pub(crate) fn place(&self, pc: u64) -> Place {
        let places = self.places(pc);
        let own = places.iter().position(|place| place.is_own).unwrap_or(0);
        places.into_iter().nth(own).unwrap_or_default()
    }

    /// Where `pc` is: the innermost first of what the compiler has put into one another.
    pub(crate) fn places(&self, pc: u64) -> Vec<Place> {
        let Some(module) = self.module(pc) else {
            return vec![Place {
                module: format!("{pc:#x}"),
                ..Place::default()
            }];
        };
        let in_file = pc - module.begin + module.offset;
        let name = module.path.file_name().unwrap_or_default();
        let bare = Place {
            module: format!("{}+{in_file:#x}", name.to_string_lossy()),
            is_own: self.modules.first().map(|first| &first.path) == Some(&module.path),
            ..Place::default()
        };
        let mut places = Vec::new();
        self.with(&module.path, |loaded| {
            let address = loaded.linked(in_file);
            if let Ok(mut frames) = loaded.loader.find_frames(address) {
                while let Ok(Some(frame)) = frames.next() {
                    places.push(bare.with(&frame));
                }
            }
            if places.iter().all(|place| place.function.is_none()) {
                places = vec![Place {
                    function: loaded.function(address),
                    ..bare.clone()
                }];
            }
        });
        if places.is_empty() {
            places.push(bare);
        }
        places
    }

    /// The variable at `address`, as `name` or `name+8`.
    pub(crate) fn variable(&self, address: u64) -> Option<String> {
        let found = self.variable_at(address)?;
        Some(match address - found.begin {
            0 => found.name,
            inside => format!("{}+{inside}", found.name),
        })
    }

    /// The same, with where it begins and how large it is.
    pub(crate) fn variable_at(&self, address: u64) -> Option<Variable> {
        let module = self.module(address)?;
        let in_file = address - module.begin + module.offset;
        let mut found = None;
        self.with(&module.path, |loaded| {
            let linked = loaded.linked(in_file);
            found = loaded.variable(linked).map(|(symbol, name)| Variable {
                name,
                begin: address - (linked - symbol.begin),
                size: symbol.size,
            });
        });
        found
    }

    fn module(&self, address: u64) -> Option<&Module> {
        self.modules
            .iter()
            .find(|module| (module.begin..module.end).contains(&address))
    }

    fn with(&self, path: &Path, look: impl FnOnce(&Loaded)) {
        let mut loaded = self.loaded.borrow_mut();
        let entry = loaded
            .entry(path.to_owned())
            .or_insert_with(|| Loaded::read(path));
        if let Some(loaded) = entry {
            look(loaded);
        }
    }
}

impl Place {
    fn with<R: addr2line::gimli::Reader>(&self, frame: &addr2line::Frame<'_, R>) -> Place {
        let function = frame
            .function
            .as_ref()
            .and_then(|name| Some(short(&name.demangle().ok()?)));
        let location = frame.location.as_ref();
        let path = location.and_then(|at| at.file).map(Path::new);
        let line = path.and_then(|path| {
            let file = path.file_name()?.to_string_lossy().into_owned();
            Some((file, location?.line?))
        });
        Place {
            function,
            line,
            path: path.map(|path| path.display().to_string()),
            module: self.module.clone(),
            is_own: self.is_own && !path.is_some_and(|path| path.starts_with("/usr")),
        }
    }
}

impl Loaded {
    /// The function at an address, if the file says that it reaches that far.
    fn function(&self, address: u64) -> Option<String> {
        let after = self.functions.partition_point(|at| at.begin <= address);
        let last = self.functions.get(after.checked_sub(1)?)?;
        let names = names(&self.functions, last);
        (address < last.begin.saturating_add(last.size)).then(|| names.max())?
    }

    /// The variable at an address, and its name.
    fn variable(&self, address: u64) -> Option<(&Symbol, String)> {
        let holds =
            |at: &&Symbol| (at.begin..at.begin.saturating_add(at.size.max(1))).contains(&address);
        let first = self.variables.iter().find(holds)?;
        Some((first, names(&self.variables, first).min()?))
    }

    fn read(path: &Path) -> Option<Loaded> {
        let loader = Loader::new(path).ok()?;
        let bytes = std::fs::read(path).ok()?;
        let file = object::File::parse(&*bytes).ok()?;
        let named = |kind| {
            let mut named: Vec<Symbol> = file
                .symbols()
                .chain(file.dynamic_symbols())
                .filter(|symbol| symbol.kind() == kind && symbol.address() != 0)
                .filter_map(|symbol| {
                    Some(Symbol {
                        begin: symbol.address(),
                        size: symbol.size(),
                        name: symbol.name().ok()?.to_owned(),
                    })
                })
                .collect();
            named.sort();
            named.dedup();
            named
        };
        let (variables, functions) = (named(SymbolKind::Data), named(SymbolKind::Text));
        let segments = file.segments().map(|segment| {
            use object::ObjectSegment;
            let (offset, size) = segment.file_range();
            (offset, size.max(segment.size()), segment.address())
        });
        let segments = segments.collect();
        Some(Loaded {
            loader,
            variables,
            functions,
            segments,
        })
    }

    /// The address that the linker gave to what is at `offset` of the file.
    fn linked(&self, offset: u64) -> u64 {
        // The last that begins before it: what is only zeroes in memory has no place in the file.
        self.segments
            .iter()
            .rfind(|(begin, size, _)| (*begin..begin + size).contains(&offset))
            .map_or(offset, |(begin, _, address)| offset - begin + address)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.function, &self.line) {
            (Some(function), Some((file, line))) => write!(f, "{function} ({file}:{line})"),
            (Some(function), None) => write!(f, "{function} ({})", self.module),
            (None, Some((file, line))) => write!(f, "{file}:{line}"),
            (None, None) => f.write_str(&self.module),
        }
    }
}

/// The names that `symbols` has for what one of them is.
fn names<'a>(symbols: &'a [Symbol], one: &'a Symbol) -> impl Iterator<Item = String> + 'a {
    let place = |symbol: &Symbol| (symbol.begin, symbol.size);
    let first = symbols.partition_point(move |symbol| place(symbol) < place(one));
    symbols[first..]
        .iter()
        .take_while(move |symbol| place(symbol) == place(one))
        .map(|symbol| short_demangled(&symbol.name))
}

fn end_of(line: &str) -> Option<u64> {
    let range = line.split_ascii_whitespace().next()?;
    u64::from_str_radix(range.split_once('-')?.1, 16).ok()
}

/// `begin-end perms offset dev inode path`.
fn module_of(line: &str) -> Option<Module> {
    let mut words = line.split_ascii_whitespace();
    let (begin, end) = words.next()?.split_once('-')?;
    let offset = words.nth(1)?;
    let path = words.nth(2)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    path.starts_with('/').then_some(Module {
        path: PathBuf::from(path),
        begin: number(begin)?,
        end: number(end)?,
        offset: number(offset)?,
    })
}

fn short_demangled(name: &str) -> String {
    // A C program may well call a variable `b`, which is a type where names are mangled.
    if !name.starts_with("_Z") && !name.starts_with("_R") {
        return name.to_owned();
    }
    short(&addr2line::demangle_auto(name.into(), None))
}

/// Without the types of the arguments, and without what a compiler adds.
fn short(name: &str) -> String {
    let mut depth = 0;
    let mut end = name.len();
    for (at, letter) in name.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            '(' if depth == 0
                && at > 0
                && !name[at..].starts_with("(anonymous")
                && !name[..at].ends_with("operator") =>
            {
                end = at;
                break;
            }
            _ => {}
        }
    }
    name[..end].to_owned()
}
