//! Copies the rows of leaf pages that no tree reaches any more, because its upper pages are damaged or cut off.
//!
//! SQLite itself reads each leaf page, as a table of one page. The checksum of a row says which table it belongs to. Freed
//! pages contain no old rows, because the store zeroes them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::DbError;
use super::open;
use super::salvage::{self, PAGE, RecoveredTable};
use super::table::{Table, find};

/// The first byte of a leaf page of a table.
const TABLE_LEAF: u8 = 13;

/// Copies the rows that are missing from `new`. `copy` is a copy of the damaged file. Errors are those of the new file.
pub(super) fn copy_rows(
    tables: &[&Table],
    copy: &Path,
    new: &Connection,
    results: &mut [RecoveredTable],
) -> Result<(), DbError> {
    let Ok(old) = open::connect(copy, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return Ok(());
    };
    // The pages of the write-ahead log belong to the file.
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let _ = old.query_row(checkpoint, [], |_| Ok(()));
    let _ = old.execute_batch("BEGIN");
    for page in leaf_pages(copy)? {
        if set_root(&old, page).is_err() {
            continue;
        }
        for (table, result) in tables.iter().zip(&mut *results) {
            if let Some(copied) = copy_page(table, &old, new)? {
                result.recovered += copied;
                result.lost = result.lost.saturating_sub(copied);
                break;
            }
        }
    }
    Ok(())
}

/// The numbers of the leaf pages; pages count from 1.
fn leaf_pages(copy: &Path) -> Result<Vec<u32>, DbError> {
    let mut file = File::open(copy)?;
    let pages = u32::try_from(file.metadata()?.len() / PAGE as u64).unwrap_or(u32::MAX);
    let mut leaves = Vec::new();
    for page in 1..pages {
        let mut kind = [0];
        file.seek(SeekFrom::Start(u64::from(page) * PAGE as u64))?;
        file.read_exact(&mut kind)?;
        if kind == [TABLE_LEAF] {
            leaves.push(page + 1);
        }
    }
    Ok(leaves)
}

/// Makes this page the root of every table, within the open transaction.
fn set_root(old: &Connection, page: u32) -> rusqlite::Result<()> {
    old.execute_batch("PRAGMA writable_schema = ON")?;
    let sql = "UPDATE sqlite_schema SET rootpage = ?1 WHERE type = 'table'";
    old.execute(sql, [page])?;
    // SQLite reads its schema again.
    old.execute_batch("PRAGMA writable_schema = RESET")
}

/// Copies the rows of the page if they are rows of this table, and returns how many were missing.
fn copy_page(table: &Table, old: &Connection, new: &Connection) -> Result<Option<u64>, DbError> {
    let (mut copied, mut belongs) = (0, false);
    let present = format!("SELECT row_id FROM {} WHERE row_id = ?1", table.name);
    let row = format!("SELECT * FROM {} NOT INDEXED WHERE row_id = ?1", table.name);
    for row_id in row_ids(table, old).unwrap_or_default() {
        let values = old.prepare_cached(&row).and_then(|mut row| {
            row.query_row([row_id], |row| Ok(salvage::sound_values(table, row)))
        });
        // The row is of another table, is damaged, or continues in a page that is.
        let Ok(Some(values)) = values else {
            continue;
        };
        belongs = true;
        if find(new, &present, [row_id])?.is_none() && salvage::put(table, new, values)? {
            copied += 1;
        }
    }
    Ok(belongs.then_some(copied))
}

/// The row ids of the page, up to a damaged one. They are read without the rest of the rows, which may be in lost pages.
fn row_ids(table: &Table, old: &Connection) -> rusqlite::Result<Vec<i64>> {
    let sql = format!("SELECT row_id FROM {} NOT INDEXED", table.name);
    let mut statement = old.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut ids = Vec::new();
    while let Ok(Some(row)) = rows.next() {
        ids.push(row.get(0)?);
    }
    Ok(ids)
}
