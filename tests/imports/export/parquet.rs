//! The tables of `parquet` have the rows of those of `csv`. Built by `--features parquet`.

use std::fs;
use std::path::Path;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;

use super::{exported, folder, recorded_run};

#[test]
fn a_parquet_table_has_the_rows_of_the_csv_table() {
    let folder = folder();
    let trace = recorded_run(
        folder.path(),
        "--scenario mixed --devices 1 --semantics sequenced",
    );
    for table in ["allocations", "messages"] {
        let more = format!("--table {table}");
        let (said, code, csv) = exported("csv", &trace, &more);
        assert_eq!(code, 0, "{said}");
        let (said, code, parquet) = exported("parquet", &trace, &more);
        assert_eq!(code, 0, "{said}");
        let text = fs::read_to_string(csv).expect("text");
        let (head, rows) = text.split_once('\n').expect("a line of names");
        let (names, read) = read(&parquet);
        assert_eq!(names, head, "{table}");
        assert_eq!(said["written"], read.len(), "{table}");
        assert!(read.len() > 100, "{table}: {} rows", read.len());
        assert_eq!(read.join("\n"), rows.trim_end(), "{table}");
    }
}

/// The names of a table's columns, and its rows as `csv` writes them.
fn read(path: &Path) -> (String, Vec<String>) {
    let file = fs::File::open(path).expect("a file");
    let reader = SerializedFileReader::new(file).expect("a parquet file");
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
    let rows = reader.get_row_iter(None).expect("rows").map(|row| {
        let row = row.expect("a row");
        let fields = row.get_column_iter().map(|(name, field)| match field {
            Field::Null => String::new(),
            Field::Str(text) => text.clone(),
            Field::ULong(number) if name == "address" => format!("{number:#x}"),
            other => other.to_string(),
        });
        fields.collect::<Vec<_>>().join(",")
    });
    (names.join(","), rows.collect())
}
