-- Database handles as pages see them. `native` holds the functions written in Rust, `pcall` and `metatable_of` are
-- Lua's own. The chunk returns `dbopen`.
local native, pcall, metatable_of = ...

local error, rawget, rawset, select = error, rawget, rawset, select
local next, setmetatable, tostring, type = next, setmetatable, tostring, type

-- The key under which a handle's table has its connection. Pages that list a handle find it: nothing can be kept in it.
local CONNECTION = function() end

-- Keys of what the page chose for the handle: whether rows have types, and what stands for NULL.
local TYPES, NULL = function() end, function() end

local function connection(handle, method)
  local found = type(handle) == "table" and rawget(handle, CONNECTION)
  if not found then error("a database handle's function is called with a colon: db:" .. method .. "(...)", 3) end
  return found
end

local function statement(sql, method)
  if type(sql) ~= "string" then
    error("bad argument #1 to '" .. method .. "' (string expected, got " .. type(sql) .. ")", 3)
  end
  return sql
end

-- What the metatables of rows and results have in common: JSON knows them by it.
local OF_ROWS = native.of_rows
OF_ROWS.__metatable = false
native.shielded[OF_ROWS] = true

-- What is alike in all rows of a result: the names of the columns, and a row's values under them. What a page sets under a
-- column's name is that column's value from then on.
local function shape(names)
  local positions = {}
  for i = #names, 1, -1 do
    positions[names[i]] = i
  end
  return setmetatable({
    columns = names,
    __index = function(row, name)
      local position = positions[name]
      if position then return rawget(row, position) end
    end,
    __newindex = function(row, name, value) rawset(row, positions[name] or name, value) end,
  }, OF_ROWS)
end

local Handle = {}
local OF_HANDLES = { __index = Handle, __metatable = false }
native.shielded[OF_HANDLES] = true

function Handle.close(handle)
  native["db.close"](connection(handle, "close"))
  return 0
end

function Handle.active(handle)
  local ok, active = native["db.active"](connection(handle, "active"))
  return ok and active
end

function Handle.escape(handle, text)
  local ok, escaped, message = native["db.escape"](connection(handle, "escape"), text)
  if not ok then error(escaped, 2) end
  if escaped == nil then return nil, message end
  return escaped
end

function Handle.run(handle, sql, ...)
  local ok, changed, message = native["db.run"](connection(handle, "run"), statement(sql, "run"), ...)
  if not ok then error(changed, 2) end
  if changed == nil then return nil, message end
  return changed
end

function Handle.query(handle, sql, ...)
  local ok, rows, names =
    native["db.query"](connection(handle, "query"), statement(sql, "query"), handle[TYPES], handle[NULL], ...)
  if not ok then error(rows, 2) end
  if rows == nil then return nil, names end
  if not rows then return false end
  local of_row = shape(names)
  for i = 1, #rows do
    setmetatable(rows[i], of_row)
  end
  return setmetatable(rows, setmetatable({ columns = names }, OF_ROWS))
end

function Handle.rows(handle, sql, ...)
  local ok, rows, names =
    native["db.rows"](connection(handle, "rows"), statement(sql, "rows"), handle[TYPES], handle[NULL], ...)
  if not ok then error(rows, 2) end
  if rows == nil then return nil, names end
  if not rows then
    return function() end
  end
  local of_row, null, some, position, is_last = shape(names), handle[NULL], {}, 0, false
  return function()
    position = position + 1
    local row = some[position]
    if row == nil then
      if is_last then return nil end
      local ok, fetched, last = native["db.fetch"](rows, null)
      if not ok then error(fetched, 2) end
      if fetched == nil then
        is_last = true
        error(last, 2)
      end
      some, position, is_last = fetched, 1, last
      row = some[1]
      if row == nil then return nil end
    end
    return setmetatable(row, of_row)
  end
end

-- The names of the columns of a row, or of a result with all its rows.
function Handle.columns(_, row)
  local metatable = type(row) == "table" and metatable_of(row)
  return metatable and metatable.columns or nil
end

local Statement = {}
local OF_STATEMENTS = { __index = Statement, __metatable = false }
native.shielded[OF_STATEMENTS] = true
for _, method in next, { "query", "run", "rows" } do
  Statement[method] = function(prepared, ...)
    if not prepared.held then return nil, "the statement is closed" end
    return Handle[method](prepared.handle, prepared.sql, ...)
  end
end

function Statement.close(prepared)
  if prepared.held then native["db.release"](prepared.held) end
  prepared.held = nil
  return 0
end

function Handle.prepare(handle, sql)
  local ok, held, message = native["db.prepare"](connection(handle, "prepare"), statement(sql, "prepare"))
  if not ok then error(held, 2) end
  if held == nil then return nil, message end
  return setmetatable({ handle = handle, sql = sql, held = held }, OF_STATEMENTS)
end

-- Marks a string as binary data.
function Handle.blob(_, bytes)
  if type(bytes) ~= "string" then error("bad argument #1 to 'blob' (string expected, got " .. type(bytes) .. ")", 2) end
  return { blob = bytes }
end

for _, method in next, { "begin", "commit", "rollback", "lastId" } do
  local run = native["db." .. method]
  Handle[method] = function(handle)
    local ok, result, message = run(connection(handle, method))
    if not ok then error(result, 2) end
    if result == nil then return nil, message end
    return result
  end
end

-- Commits if `run` returns, rolls back if it raises, which then goes on.
local function finish(handle, ok, ...)
  if not ok then
    handle:rollback()
    error((...), 0)
  end
  local committed, message = handle:commit()
  if not committed then return nil, message end
  if select("#", ...) == 0 then return true end
  return ...
end

function Handle.transaction(handle, run)
  connection(handle, "transaction")
  if type(run) ~= "function" then
    error("bad argument #1 to 'transaction' (function expected, got " .. type(run) .. ")", 2)
  end
  local begun, message = handle:begin()
  if not begun then return nil, message end
  return finish(handle, pcall(run, handle))
end

-- What a page may choose for a handle, checked.
local function chosen(options)
  if options == nil then return false, nil end
  if type(options) ~= "table" then error("bad argument #3 to 'dbopen' (table expected, got " .. type(options) .. ")", 3) end
  for name in next, options do
    if name ~= "types" and name ~= "null" then
      error("bad argument #3 to 'dbopen' (no option '" .. tostring(name) .. "': there are types and null)", 3)
    end
  end
  local null = options.null
  if type(null) == "table" or type(null) == "function" then
    error(
      "bad argument #3 to 'dbopen' (null: json.null, text, a number or a boolean expected, got a " .. type(null) .. ")",
      3
    )
  end
  return not not options.types, null
end

return function(...)
  local types, null = chosen((select(3, ...)))
  local ok, opened, message = native.dbopen(...)
  if not ok then error(opened, 2) end
  if opened == nil then return nil, message end
  return setmetatable({ [CONNECTION] = opened, [TYPES] = types, [NULL] = null }, OF_HANDLES)
end
