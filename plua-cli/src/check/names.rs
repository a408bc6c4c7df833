//! One file's Lua read for its names: which variables are read, which globals are set, and what never runs.

use std::collections::HashSet;
use std::ops::Range;

use full_moon::LuaVersion;
use full_moon::ast::{
    Assignment, Block, Call, Expression, Field, FunctionArgs, FunctionBody, FunctionCall, FunctionDeclaration, If,
    Index, LastStmt, LocalAssignment, Parameter, Prefix, Stmt, Suffix, Var,
};
use full_moon::node::Node;
use full_moon::tokenizer::TokenReference;

use super::known;
use super::nodes::{argument_line, empty_lines, is_blank, key_of, line_of, literal_in, literal_of, name_of};
use super::request_data::{self, Value};
use super::warning::{Kind, Warning};

/// A global that is set or called.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub name: String,
    pub line: u32,
    /// Whether all its readings in the file come later.
    pub comes_first: bool,
}

/// What one file's Lua says, for itself and for the files it works with.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// What the file alone tells.
    pub warnings: Vec<Warning>,
    /// Globals that it sets, where each is set first.
    pub sets: Vec<Use>,
    /// Globals that it makes in other ways: as functions, as fields of `_G`, as variables of an included file.
    pub makes: HashSet<String>,
    /// Globals that it reads.
    pub reads: HashSet<String>,
    /// Globals that it calls, each where that is done first.
    pub calls: Vec<Use>,
    /// Files that it includes, by the names it says, and the lines.
    pub includes: Vec<(String, u32)>,
    /// Whether it includes files whose names are not written there.
    pub is_open: bool,
    /// Whether it makes globals whose names are not written there.
    pub makes_unseen: bool,
}

/// What a piece of Lua says. Nothing where it is not the Lua that the parser knows: the compiler says what is wrong with it.
///
/// `raw` are the places where something is put out without escaping on purpose.
pub(crate) fn read(lua: &str, raw: &[Range<usize>]) -> Option<Facts> {
    let parsed = full_moon::parse_fallible(lua, LuaVersion::lua54().with_luajit());
    if !parsed.errors().is_empty() {
        return None;
    }
    let is_page = lua.starts_with("local __plua");
    let mut reader = Reader { raw, is_page, is_html: true, ..Reader::default() };
    reader.block(parsed.ast().nodes());
    Some(reader.end())
}

/// What becomes of a local that nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It is told.
    Variable,
    /// It has to be there: a parameter, or the variable of a loop.
    Place,
}

#[derive(Debug)]
struct Local {
    name: String,
    line: u32,
    role: Role,
    is_read: bool,
    /// Locals of one statement have one number.
    statement: u32,
    value: Value,
    /// How many blocks it is inside.
    depth: usize,
}

#[derive(Default)]
struct Reader<'t> {
    facts: Facts,
    /// All that are in scope, the innermost last.
    locals: Vec<Local>,
    /// How many there were when each block began.
    blocks: Vec<usize>,
    statements: u32,
    /// Globals that hold what the visitor sent.
    sent: HashSet<String>,
    raw: &'t [Range<usize>],
    /// Where what the visitor sent is put out.
    unescaped: Vec<Warning>,
    is_html: bool,
    /// Whether it is no module, in which a name of a page function is like any other unless it has use for that function.
    is_page: bool,
    /// Variables that hide page functions, and the functions.
    hidden: Vec<(Warning, String)>,
    /// Fields that the tables of page functions have not.
    missing: Vec<(String, String, u32)>,
}

impl Reader<'_> {
    fn end(mut self) -> Facts {
        if self.is_html {
            self.facts.warnings.append(&mut self.unescaped);
        }
        let facts = &mut self.facts;
        let matters = |function: &String| self.is_page || facts.reads.contains(function);
        let hidden: Vec<_> = self.hidden.into_iter().filter(|(_, function)| matters(function)).collect();
        facts.warnings.extend(hidden.into_iter().map(|(warning, _)| warning));
        for (table, field, line) in self.missing {
            if self.facts.makes.contains(&table) || self.facts.sets.iter().any(|set| set.name == table) {
                continue;
            }
            let near = known::nearest_field(&table, &field);
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            self.facts.warnings.push(Warning {
                line,
                kind: Kind::Unknown,
                message: format!("there is no {table}.{field}{near}"),
            });
        }
        self.facts
    }

    fn warn(&mut self, kind: Kind, line: u32, message: String) {
        self.facts.warnings.push(Warning { line, kind, message });
    }

    /// Notes that a variable has the name of a page function, unless it is that function.
    fn hides(&mut self, what: &str, name: &str, line: u32, value: &Value) {
        if known::is_page_function(name) && !value.is_page_function(name) {
            let message = format!("the {what} '{name}' hides the page function {name}()");
            self.hidden.push((Warning { line, kind: Kind::Shadows, message }, name.to_owned()));
        }
    }

    fn block(&mut self, block: &Block) {
        self.open();
        self.statements_of(block);
        self.close();
    }

    fn open(&mut self) {
        self.blocks.push(self.locals.len());
    }

    fn close(&mut self) {
        let first = self.blocks.pop().unwrap_or_default();
        let mut read_in = None;
        for local in self.locals.split_off(first).into_iter().rev() {
            if local.is_read {
                read_in = Some(local.statement);
            } else if local.role == Role::Variable && !local.name.starts_with('_') && read_in != Some(local.statement) {
                // One before another that is read holds its place.
                self.warn(Kind::Unused, local.line, format!("the local '{}' is never read", local.name));
            }
        }
    }

    fn statements_of(&mut self, block: &Block) {
        let mut ended = None;
        for statement in block.stmts() {
            if let Some(end) = ended
                && !is_blank(statement)
            {
                self.unreachable(end, line_of(statement) + empty_lines(statement));
                ended = None;
            }
            self.statement(statement);
            ended = ended.or_else(|| self.end_of_page(statement));
        }
        if let Some(last) = block.last_stmt() {
            if let Some(end) = ended {
                self.unreachable(end, line_of(last));
            }
            if let LastStmt::Return(returned) = last {
                for value in returned.returns() {
                    self.expression(value);
                }
            }
        }
    }

    fn unreachable(&mut self, end: &str, line: u32) {
        self.warn(Kind::Unreachable, line, format!("nothing behind {end} is ever run or put out"));
    }

    /// What a statement ends the page with, if it does.
    fn end_of_page(&self, statement: &Stmt) -> Option<&'static str> {
        match statement {
            Stmt::Do(inner) => {
                let is_alone = inner.block().stmts().next().is_none();
                (is_alone && matches!(inner.block().last_stmt(), Some(LastStmt::Return(_)))).then_some("return")
            }
            Stmt::FunctionCall(call) => {
                let Prefix::Name(first) = call.prefix() else { return None };
                let mut path = name_of(first);
                if self.locals.iter().any(|local| local.name == path) {
                    return None;
                }
                let mut suffixes = call.suffixes();
                for suffix in suffixes.by_ref() {
                    match suffix {
                        Suffix::Index(Index::Dot { name, .. }) => path = format!("{path}.{}", name_of(name)),
                        Suffix::Call(Call::AnonymousCall(_)) => break,
                        _ => return None,
                    }
                }
                if suffixes.next().is_some() {
                    return None;
                }
                match path.as_str() {
                    "exit" | "plua.exit" | "os.exit" => Some("exit()"),
                    "error" => Some("error()"),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Assignment(assignment) => self.assignment(assignment),
            Stmt::Do(inner) => self.block(inner.block()),
            Stmt::FunctionCall(call) => _ = self.call(call),
            Stmt::FunctionDeclaration(function) => self.function_declaration(function),
            Stmt::GenericFor(each) => {
                let sent = self.values(each.expressions().iter()).iter().any(|value| value.is_sent);
                self.open();
                for name in each.names() {
                    self.declare(name, Role::Place, Value { is_sent: sent, ..Value::default() });
                }
                self.statements_of(each.block());
                self.close();
            }
            Stmt::If(condition) => self.condition(condition),
            Stmt::LocalAssignment(assignment) => self.local_assignment(assignment),
            Stmt::LocalFunction(function) => {
                self.statements += 1;
                // It may call itself, which is not to read it.
                self.declare(function.name(), Role::Variable, Value::default());
                let at = self.locals.len() - 1;
                self.function(function.body(), false);
                if let Some(local) = self.locals.get_mut(at) {
                    local.is_read = false;
                }
            }
            Stmt::NumericFor(count) => {
                for bound in [Some(count.start()), Some(count.end()), count.step()].into_iter().flatten() {
                    self.expression(bound);
                }
                self.open();
                self.declare(count.index_variable(), Role::Place, Value::default());
                self.statements_of(count.block());
                self.close();
            }
            Stmt::Repeat(repeat) => {
                self.open();
                self.statements_of(repeat.block());
                self.expression(repeat.until());
                self.close();
            }
            Stmt::While(repeat) => {
                self.expression(repeat.condition());
                self.block(repeat.block());
            }
            _ => {}
        }
    }

    fn condition(&mut self, condition: &If) {
        self.expression(condition.condition());
        self.block(condition.block());
        for other in condition.else_if().into_iter().flatten() {
            self.expression(other.condition());
            self.block(other.block());
        }
        if let Some(block) = condition.else_block() {
            self.block(block);
        }
    }

    fn local_assignment(&mut self, assignment: &LocalAssignment) {
        let values = self.values(assignment.expressions().iter());
        self.statements += 1;
        let is_closed = |at: usize| {
            assignment.attributes().nth(at).flatten().is_some_and(|attribute| name_of(attribute.name()) == "close")
        };
        for (at, name) in assignment.names().iter().enumerate() {
            self.declare(name, Role::Variable, value_at(&values, at));
            if let Some(local) = self.locals.last_mut() {
                local.is_read |= is_closed(at);
            }
        }
    }

    fn assignment(&mut self, assignment: &Assignment) {
        let values = self.values(assignment.expressions().iter());
        for (at, variable) in assignment.variables().iter().enumerate() {
            let value = value_at(&values, at);
            match variable {
                Var::Name(name) => self.set(name, value),
                Var::Expression(place) => {
                    let suffixes: Vec<_> = place.suffixes().collect();
                    self.set_field(place.prefix(), &suffixes);
                }
                _ => {}
            }
        }
    }

    fn set(&mut self, token: &TokenReference, value: Value) {
        let (name, line, depth) = (name_of(token), line_of(token), self.blocks.len());
        if let Some(local) = self.locals.iter_mut().rev().find(|local| local.name == name) {
            // In a branch alone it may be what it was.
            let stays = local.depth < depth && local.value.is_sent && !value.is_clean;
            local.value = Value { is_sent: value.is_sent || stays, ..Value::default() };
            return;
        }
        self.hides("global", &name, line, &value);
        if value.is_sent {
            self.sent.insert(name.clone());
        } else {
            self.sent.remove(&name);
        }
        if !self.facts.sets.iter().any(|set| set.name == name) {
            let comes_first = !self.facts.reads.contains(&name);
            self.facts.sets.push(Use { name, line, comes_first });
        }
    }

    fn set_field(&mut self, prefix: &Prefix, suffixes: &[&Suffix]) {
        if let (Prefix::Name(first), [Suffix::Index(index)]) = (prefix, suffixes)
            && matches!(name_of(first).as_str(), "_G" | "_ENV")
        {
            match key_of(index) {
                Some(key) => _ = self.facts.makes.insert(key),
                None => self.facts.makes_unseen = true,
            }
        }
        // What is written to need not be there.
        let Some((last, before)) = suffixes.split_last() else { return };
        self.chain(prefix, before);
        if let Suffix::Index(Index::Brackets { expression, .. }) = last {
            self.expression(expression);
        }
        // A table of page functions that gets another one.
        if let (Prefix::Name(first), [Suffix::Index(_)]) = (prefix, suffixes) {
            self.facts.makes.insert(name_of(first));
        }
    }

    fn function_declaration(&mut self, function: &FunctionDeclaration) {
        let names = function.name().names();
        if let Some(first) = names.iter().next() {
            let name = name_of(first);
            if names.len() > 1 || function.name().method_name().is_some() {
                self.name(first);
                self.facts.makes.insert(name);
            } else if !self.locals.iter().any(|local| local.name == name) {
                self.hides("function", &name, line_of(first), &Value::default());
                self.facts.makes.insert(name);
            }
        }
        self.function(function.body(), function.name().method_name().is_some());
    }

    fn function(&mut self, body: &FunctionBody, is_method: bool) {
        self.open();
        self.statements += 1;
        if is_method {
            self.locals.push(Local {
                name: "self".into(),
                line: 0,
                role: Role::Place,
                is_read: false,
                statement: self.statements,
                value: Value::default(),
                depth: self.blocks.len(),
            });
        }
        for parameter in body.parameters() {
            if let Parameter::Name(name) = parameter {
                self.declare(name, Role::Place, Value::default());
            }
        }
        self.statements_of(body.block());
        self.close();
    }

    fn declare(&mut self, token: &TokenReference, role: Role, value: Value) {
        let (name, line) = (name_of(token), line_of(token));
        self.hides("local", &name, line, &value);
        // What a page's own Lua begins with.
        let is_read = name == "__plua" || name == "__texts";
        let value = if is_read { Value { path: Some(name.clone()), ..Value::default() } } else { value };
        let depth = self.blocks.len();
        self.locals.push(Local { name, line, role, is_read, statement: self.statements, value, depth });
    }

    /// The value of a name that is read.
    fn name(&mut self, token: &TokenReference) -> Value {
        let name = name_of(token);
        if let Some(local) = self.locals.iter_mut().rev().find(|local| local.name == name) {
            local.is_read = true;
            return local.value.clone();
        }
        let is_sent = self.sent.contains(&name);
        self.facts.reads.insert(name.clone());
        Value { is_sent, path: Some(name), ..Value::default() }
    }

    fn values<'e>(&mut self, expressions: impl Iterator<Item = &'e Expression>) -> Vec<Value> {
        expressions.map(|expression| self.expression(expression)).collect()
    }

    fn expression(&mut self, expression: &Expression) -> Value {
        match expression {
            Expression::BinaryOperator { lhs, binop, rhs } => {
                let (left, right) = (self.expression(lhs), self.expression(rhs));
                request_data::joined(name_of(binop.token()).as_str(), &left, &right)
            }
            Expression::Parentheses { expression, .. } => Value { path: None, ..self.expression(expression) },
            Expression::UnaryOperator { expression, .. } => {
                self.expression(expression);
                Value::clean()
            }
            Expression::Function(function) => {
                self.function(function.body(), false);
                Value::default()
            }
            Expression::FunctionCall(call) => self.call(call),
            Expression::TableConstructor(table) => {
                let mut is_sent = false;
                for field in table.fields() {
                    let value = match field {
                        Field::ExpressionKey { key, value, .. } => {
                            self.expression(key);
                            self.expression(value)
                        }
                        Field::NameKey { value, .. } => self.expression(value),
                        Field::NoKey(value) => self.expression(value),
                        _ => Value::default(),
                    };
                    is_sent |= value.is_sent;
                }
                Value { is_sent, ..Value::default() }
            }
            Expression::Var(Var::Name(name)) => self.name(name),
            Expression::Var(Var::Expression(place)) => {
                let suffixes: Vec<_> = place.suffixes().collect();
                self.chain(place.prefix(), &suffixes)
            }
            _ => Value::default(),
        }
    }

    fn call(&mut self, call: &FunctionCall) -> Value {
        let suffixes: Vec<_> = call.suffixes().collect();
        self.chain(call.prefix(), &suffixes)
    }

    /// The value of a name or an expression with what follows it: fields, methods and calls.
    fn chain(&mut self, prefix: &Prefix, suffixes: &[&Suffix]) -> Value {
        let mut line = line_of(prefix);
        let mut value = match prefix {
            Prefix::Name(name) => {
                let value = self.name(name);
                if let (Some(path), Some(Suffix::Call(Call::AnonymousCall(_)))) = (&value.path, suffixes.first())
                    && *path == name_of(name)
                    && !self.facts.calls.iter().any(|call| call.name == *path)
                {
                    self.facts.calls.push(Use { name: path.clone(), line, comes_first: false });
                }
                value
            }
            Prefix::Expression(expression) => Value { path: None, ..self.expression(expression) },
            _ => Value::default(),
        };
        for suffix in suffixes {
            line = line_of(*suffix).max(line);
            value = match suffix {
                Suffix::Index(index) => {
                    if let Index::Brackets { expression, .. } = index {
                        self.expression(expression);
                    }
                    self.field(value, key_of(index), line)
                }
                Suffix::Call(Call::AnonymousCall(arguments)) => self.result(&value, arguments, line),
                Suffix::Call(Call::MethodCall(method)) => {
                    let (values, literals) = self.arguments(method.args());
                    let path = format!("string.{}", name_of(method.name()));
                    let all: Vec<Value> = std::iter::once(value).chain(values).collect();
                    request_data::result(&path, &all, literals.first().and_then(Option::as_deref))
                }
                _ => Value::default(),
            };
        }
        value
    }

    fn field(&mut self, value: Value, key: Option<String>, line: u32) -> Value {
        let Some(key) = key else { return Value { path: None, ..value } };
        if let Some(table) = value.path.as_deref()
            && known::is_closed_table(table)
            && !known::is_field(table, &key)
        {
            self.missing.push((table.to_owned(), key.clone(), line));
        }
        request_data::field(&value, &key)
    }

    fn arguments(&mut self, arguments: &FunctionArgs) -> (Vec<Value>, Vec<Option<String>>) {
        match arguments {
            FunctionArgs::Parentheses { arguments, .. } => {
                let literals = arguments.iter().map(literal_of).collect();
                (self.values(arguments.iter()), literals)
            }
            FunctionArgs::String(token) => (vec![Value::clean()], vec![literal_in(token)]),
            FunctionArgs::TableConstructor(table) => {
                (vec![self.expression(&Expression::TableConstructor(table.clone()))], vec![None])
            }
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// What a call gives, and what it does that matters here.
    fn result(&mut self, function: &Value, arguments: &FunctionArgs, line: u32) -> Value {
        let (values, literals) = self.arguments(arguments);
        let Some(path) = function.path.as_deref() else { return Value::default() };
        let ours = path.strip_prefix("plua.").filter(|name| known::is_page_function(name)).unwrap_or(path);
        let first = literals.first().and_then(Option::as_deref);
        match ours {
            "include" | "include_once" | "render" | "layout" => {
                match first {
                    Some(file) => self.facts.includes.push((file.to_owned(), line)),
                    None => self.facts.is_open = true,
                }
                self.variables_of(arguments);
            }
            "plua.compile" | "loadstring" | "load" => self.facts.is_open = true,
            "loadfile" | "dofile" | "setfenv" | "module" => self.facts.makes_unseen = true,
            "setmetatable" | "rawset" => self.facts.makes_unseen |= self.is_of_globals(arguments),
            "setContentType" => {
                self.is_html &= first.is_none_or(|given| given.contains("html") || given.contains("svg"))
            }
            "header" if first.is_some_and(|name| name.eq_ignore_ascii_case("Content-Type")) => {
                let given = literals.get(1).and_then(Option::as_deref);
                self.is_html &= given.is_none_or(|given| given.contains("html") || given.contains("svg"));
            }
            "echo" | "print" => self.put_out(&values, 0, line, "escapeHtml() around it"),
            "__plua.echo" => {
                let at = match arguments {
                    FunctionArgs::Parentheses { arguments, .. } => arguments
                        .iter()
                        .nth(1)
                        .and_then(Node::start_position)
                        .map(full_moon::tokenizer::Position::bytes),
                    _ => None,
                };
                let is_raw = at.is_some_and(|at| self.raw.iter().any(|range| range.contains(&at)));
                // The text behind the tag comes first.
                let line = argument_line(arguments, 1).unwrap_or(line);
                if !is_raw {
                    self.put_out(&values, 1, line, "<?& ?>");
                }
            }
            _ => {}
        }
        request_data::result(ours, &values, literals.get(1).and_then(Option::as_deref))
    }

    fn put_out(&mut self, values: &[Value], from: usize, line: u32, remedy: &str) {
        if values.iter().skip(from).any(|value| value.is_sent) {
            self.unescaped.push(Warning {
                line,
                kind: Kind::Unescaped,
                message: format!("what the visitor sent is put out as HTML; write {remedy}"),
            });
        }
    }

    /// The variables that an included file is given.
    fn variables_of(&mut self, arguments: &FunctionArgs) {
        let FunctionArgs::Parentheses { arguments, .. } = arguments else { return };
        match arguments.iter().nth(1) {
            Some(Expression::TableConstructor(table)) => {
                for field in table.fields() {
                    if let Field::NameKey { key, .. } = field {
                        self.facts.makes.insert(name_of(key));
                    }
                }
            }
            Some(_) => self.facts.is_open = true,
            None => {}
        }
    }

    /// Whether a call is given the globals.
    fn is_of_globals(&self, arguments: &FunctionArgs) -> bool {
        let FunctionArgs::Parentheses { arguments, .. } = arguments else { return false };
        let Some(Expression::Var(Var::Name(name))) = arguments.iter().next() else { return false };
        matches!(name_of(name).as_str(), "_G" | "_ENV")
    }
}

/// The value that the variable of this number gets: the last call gives several.
fn value_at(values: &[Value], at: usize) -> Value {
    match values.get(at) {
        Some(value) => value.clone(),
        None => Value { path: None, ..values.last().cloned().unwrap_or_default() },
    }
}
