//! Pieces of the Lua that a file becomes, as the parser has them: their names, lines and texts.

use full_moon::ast::{Call, Expression, FunctionArgs, Index, Prefix, Stmt, Suffix};
use full_moon::node::Node;
use full_moon::tokenizer::{TokenReference, TokenType};

/// What a token is written as.
pub(crate) fn name_of(token: &TokenReference) -> String {
    token.token().to_string()
}

/// The line that something begins in, from 1.
pub(crate) fn line_of(node: &(impl Node + ?Sized)) -> u32 {
    node.start_position().map_or(0, |position| u32::try_from(position.line()).unwrap_or(u32::MAX))
}

/// The key of a field that is written as a name or a text.
pub(crate) fn key_of(index: &Index) -> Option<String> {
    match index {
        Index::Dot { name, .. } => Some(name_of(name)),
        Index::Brackets { expression, .. } => literal_of(expression),
        _ => None,
    }
}

/// The text that an expression is, as it is written.
pub(crate) fn literal_of(expression: &Expression) -> Option<String> {
    match expression {
        Expression::String(token) => literal_in(token),
        _ => None,
    }
}

/// The text that a token is.
pub(crate) fn literal_in(token: &TokenReference) -> Option<String> {
    match token.token().token_type() {
        TokenType::StringLiteral { literal, .. } => Some(literal.to_string()),
        _ => None,
    }
}

/// The text that a statement puts out, as it is written in the page's Lua, if it does no more than that.
fn text_of(statement: &Stmt) -> Option<String> {
    match statement {
        Stmt::FunctionCall(call) => {
            let Prefix::Name(name) = call.prefix() else { return None };
            let argument = |suffix: &Suffix| match suffix {
                Suffix::Call(Call::AnonymousCall(arguments)) => match &**arguments {
                    FunctionArgs::Parentheses { arguments, .. } if arguments.len() == 1 => {
                        arguments.iter().next().and_then(literal_of)
                    }
                    _ => None,
                },
                _ => None,
            };
            (name_of(name) == "__plua").then(|| call.suffixes().find_map(argument)).flatten()
        }
        // One that follows what may wait for a value stands in a block of its own.
        Stmt::If(block) if block.else_block().is_none() && block.condition().to_string().trim() == "true" => {
            let mut statements = block.block().stmts();
            let text = statements.next().and_then(text_of)?;
            (statements.next().is_none() && block.block().last_stmt().is_none()).then_some(text)
        }
        _ => None,
    }
}

/// Whether a statement puts out nothing but space.
pub(crate) fn is_blank(statement: &Stmt) -> bool {
    text_of(statement).is_some_and(|text| is_space(&text))
}

/// Whether a text, as it is written in Lua, is nothing but space.
fn is_space(text: &str) -> bool {
    text.replace("\\r", "").replace('\\', "").trim().is_empty()
}

/// How many lines of a text are empty before the first that is not.
pub(crate) fn empty_lines(statement: &Stmt) -> u32 {
    let Some(text) = text_of(statement) else { return 0 };
    let empty = text.split('\n').take_while(|line| is_space(line));
    u32::try_from(empty.count()).unwrap_or_default()
}

/// The line of an argument, counted from 0.
pub(crate) fn argument_line(arguments: &FunctionArgs, number: usize) -> Option<u32> {
    let FunctionArgs::Parentheses { arguments, .. } = arguments else { return None };
    arguments.iter().nth(number).map(line_of)
}
