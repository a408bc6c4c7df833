//! How a connection to PostgreSQL opens cursors and runs what its server holds prepared.

use std::collections::VecDeque;

use super::{BYTES, Cursor, FIRST, MOST, PREPARED, Served, declare, fetch};
use crate::batch::{Batch, Names};
use crate::connection::{Connection, Transaction};
use crate::driver::Kind;
use crate::found::Open;
use crate::memory_use::Held;
use crate::statement::{Statement, Value};

impl Connection {
    /// Opens a cursor for a statement and fetches its first rows; with the names of its columns.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn open_cursor(
        &mut self,
        sql: &[u8],
        statement: &Statement,
        values: &[Value],
        types: bool,
    ) -> Result<Option<(Cursor, Names)>, String> {
        let number = self.next_number();
        let mut first = declare(number).into_bytes();
        let fetch = fetch(number, FIRST).into_bytes();
        let answer = if values.is_empty() {
            // Both at once; a comment may be open at the end.
            first.extend_from_slice(sql);
            first.extend_from_slice(b"\n;");
            first.extend(fetch);
            self.ask_pgsql(&first, statement, &[])?
        } else {
            let mut declared = Statement { pieces: statement.pieces.clone(), ..Statement::default() };
            if let Some(piece) = declared.pieces.first_mut() {
                piece.splice(0..0, first);
            }
            self.execute(&[], &declared, values)?;
            self.ask_pgsql(&fetch, &Statement::default(), &[])?
        };
        let names = answer.names.clone();
        let cursor = Cursor {
            number,
            types,
            answer: Some(answer),
            rows: VecDeque::new(),
            error: None,
            held: Held::default(),
            asked: FIRST,
            taken: 0,
            bytes: 0,
            count: 0,
        };
        if names.is_empty() {
            self.end(Open::Cursor(cursor));
            return Ok(None);
        }
        Ok(Some((cursor, names)))
    }

    /// Adds rows of a cursor to an empty batch; false after the last.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn fill_from_cursor(&mut self, cursor: &mut Cursor, batch: &mut Batch) -> Result<bool, String> {
        loop {
            if let Some(rows) = cursor.rows.pop_front() {
                *batch = rows;
                cursor.count(batch);
                return Ok(true);
            }
            if let Some(error) = cursor.error.take() {
                return Err(error);
            }
            if let Some(answer) = &mut cursor.answer {
                *batch = answer.batch();
                let more = answer.fill(cursor.types, batch).map_err(|error| self.failed(error))?;
                if !more {
                    cursor.answer = None;
                }
                cursor.count(batch);
                if more || !batch.is_empty() {
                    return Ok(more || cursor.taken >= cursor.asked);
                }
            }
            if cursor.taken < cursor.asked {
                return Ok(false);
            }
            self.take_rows();
            let size = cursor.bytes.checked_div(cursor.count).unwrap_or(0);
            cursor.asked = BYTES.checked_div(size).unwrap_or(MOST).clamp(1, MOST);
            cursor.taken = 0;
            let fetch = fetch(cursor.number, cursor.asked);
            cursor.answer = Some(self.ask_pgsql(fetch.as_bytes(), &Statement::default(), &[])?);
        }
    }

    /// Reads what is coming of a cursor's rows, so that the connection takes another statement.
    pub(crate) fn take_from_cursor(&mut self, cursor: &mut Cursor) {
        let Some(mut answer) = cursor.answer.take() else { return };
        cursor.held = Held::new(self.memory_use.as_ref());
        match answer.collect(cursor.types, &mut cursor.held) {
            Ok(rows) => cursor.rows = rows,
            Err(error) => cursor.error = Some(self.failed(error)),
        }
    }

    /// Closes a cursor.
    pub(crate) fn close_cursor(&mut self, cursor: &Cursor) {
        self.free(format!("CLOSE plua_{}", cursor.number));
    }

    /// Has a statement prepared by the server for as long as someone holds it.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn serve(&mut self, sql: &[u8], statement: &Statement) -> Result<(), String> {
        if self.kind != Kind::Pgsql || statement.openings.len() != 1 || !statement.begins_with(PREPARED) {
            return Ok(());
        }
        if let Some(served) = self.served.get_mut(sql) {
            served.holders += 1;
            return Ok(());
        }
        let number = Some(self.prepare_on_server(sql, statement)?);
        self.served.insert(sql.to_vec(), Served { holders: 1, number });
        Ok(())
    }

    fn prepare_on_server(&mut self, sql: &[u8], statement: &Statement) -> Result<u64, String> {
        let number = self.next_number();
        let mut text = format!("PREPARE plua_{number} AS ").into_bytes();
        match statement.placeholders() {
            0 => text.extend_from_slice(sql),
            _ => text.extend(statement.with(|place| format!("${}", place + 1).into_bytes())),
        }
        self.execute(&text, &Statement::default(), &[]).map(|_| number)
    }

    /// The text that runs a statement the server has prepared; none if it has not.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) fn served(
        &mut self,
        sql: &[u8],
        statement: &Statement,
        values: &[Value],
    ) -> Result<Option<Vec<u8>>, String> {
        let number = match self.served.get(sql) {
            None => return Ok(None),
            Some(Served { number: Some(number), .. }) => *number,
            Some(_) => self.prepare_on_server(sql, statement)?,
        };
        if let Some(served) = self.served.get_mut(sql) {
            served.number = Some(number);
        }
        let mut text = format!("EXECUTE plua_{number}").into_bytes();
        for (place, value) in values.iter().enumerate() {
            text.push(if place == 0 { b'(' } else { b',' });
            match (value.binary(), value.text()) {
                (Some(bytes), _) => {
                    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    text.extend(self.quote(format!("\\x{digits}").as_bytes())?);
                }
                // In quotes a number has no type of its own either, and takes that of its place.
                (None, Some(value)) => text.extend(self.quote(&value)?),
                (None, None) => text.extend_from_slice(b"NULL"),
            }
        }
        if !values.is_empty() {
            text.push(b')');
        }
        Ok(Some(text))
    }

    /// Has a statement that failed prepared again at its next use: its tables may have changed, which the server does
    /// not forgive a prepared statement.
    pub(crate) fn forget(&mut self, sql: &[u8]) {
        if let Some(number) = self.served.get_mut(sql).and_then(|served| served.number.take()) {
            self.free(format!("DEALLOCATE plua_{number}"));
        }
    }

    /// Lets go of a statement that was prepared.
    pub fn release(&mut self, sql: &[u8]) {
        let Some(served) = self.served.get_mut(sql) else { return };
        served.holders -= 1;
        if served.holders == 0
            && let Some(served) = self.served.remove(sql)
        {
            self.deallocate(served);
        }
    }

    pub(crate) fn deallocate(&mut self, served: Served) {
        if let Some(number) = served.number {
            self.free(format!("DEALLOCATE plua_{number}"));
        }
    }

    /// Frees something on the server: at once, or at the end of a transaction that the command could break.
    fn free(&mut self, command: String) {
        match self.transaction {
            // What it frees is there still.
            Transaction::None => {}
            Transaction::Begun(None) if !self.has_savepoints => {}
            _ => return self.leftovers.push(command),
        }
        let _ = self.command(&command);
    }

    /// Frees what had to wait for the end of a transaction.
    pub(crate) fn clear_leftovers(&mut self) {
        if self.transaction == Transaction::None {
            for command in std::mem::take(&mut self.leftovers) {
                let _ = self.command(&command);
            }
        }
    }
}
