-- Pages made of several files: include, render, layouts and their blocks.
--
-- The chunk takes what it needs of the state's own code. It returns the page functions, and what runs around a page.
local native, output, pages, page_texts, call_with_handler, described, message_of, frames, check_ending = ...

local error, next, remove, setmetatable, type = error, next, table.remove, setmetatable, type
local dump, load_bytecode, setfenv = string.dump, loadstring or load, setfenv
local getinfo, upvaluejoin = debug.getinfo, debug.upvaluejoin
local slot, level, unwind, capture = output.slot, output.level, output.unwind, output.capture
local for_pages = output.for_pages

local DEEPEST = 100
local depth = 0

-- Files see `vars` before the globals; what they assign under other names is global.
local GLOBALS = _G
local SCOPE = { __index = GLOBALS, __newindex = GLOBALS, __metatable = false }

-- Copies of the functions of files, by function, for calls with variables of their own. Lua keeps an environment per
-- function and not per call, so each call takes a copy that no other call is using: a file may include itself.
local copies = setmetatable({}, { __mode = "k" })

local function set_globals(copy, globals)
  if setfenv then
    setfenv(copy, globals)
  else
    -- Functions made by an earlier call share its variable, so it is replaced here and not assigned.
    upvaluejoin(copy, 1, function() return globals end, 1)
  end
end

local function copy_with(body, vars)
  local copy = copies[body] and remove(copies[body]) or load_bytecode(dump(body))
  local scope = {}
  for name, value in next, vars do scope[name] = value end
  set_globals(copy, setmetatable(scope, SCOPE))
  return copy
end

local function give_back(body, copy)
  if copy == body then return end
  -- What the call was given is not kept until the next one.
  set_globals(copy, GLOBALS)
  local unused = copies[body]
  if unused then unused[#unused + 1] = copy else copies[body] = { copy } end
end

local function expected(name, position, what, value)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. " expected, got "
    .. (value == nil and "no value" or type(value)) .. ")", 3)
end

local function source_of(caller) return caller and caller.source or nil end

-- What native.include answers. `level` is where the including file is called; none, and its folder is not searched.
-- Which file that is takes Lua a walk and a table, so it is asked when the requested page's folder has no such file.
local find_file = native.include
local function find(file, once, level)
  local ok, page, problem, already = find_file(file, nil, once)
  if level and (not ok or not page and not already) then
    return find_file(file, source_of(getinfo(level + 1, "S")), once)
  end
  return ok, page, problem, already
end

-- The file's function, one that sees `vars` if there are any, and its texts. Raises what is wrong, at `place`.
local function open(name, file, vars, level, place)
  local ok, page, problem = find(file, nil, level and level + 1)
  if not ok then error(page, place) end
  if problem then error(problem, 0) end
  if not page then error(name .. ": there is no file '" .. file .. "'", place) end
  local body = pages[page]
  return body, vars and copy_with(body, vars) or body, page_texts[page]
end

local function report(message, calls)
  local _, shown = native.include_failed(message, calls)
  if shown then slot.out:put(shown) end
end

local function included(body, copy, before, at, fine, ...)
  depth = before
  check_ending()
  give_back(body, copy)
  if fine then return true, ... end
  unwind(at)
  local problem = ...
  if type(problem) ~= "table" then problem = { message_of(problem), {} } end
  report(problem[1], problem[2])
  return false
end

local function including(name, once)
  return function(file, vars)
    if depth >= DEEPEST then error(name .. " is nested more than " .. DEEPEST .. " deep", 2) end
    if type(file) ~= "string" then expected(name, 1, "string", file) end
    if vars ~= nil and type(vars) ~= "table" then expected(name, 2, "table", vars) end
    local ok, page, problem, already = find(file, once, 2)
    if not ok then error(page, 2) end
    if problem then report(nil, frames(nil, 2)) end
    if not page then return already or false end
    local body = pages[page]
    local copy = vars and copy_with(body, vars) or body
    local before = depth
    depth = before + 1
    return included(body, copy, before, level(), call_with_handler(copy, described, for_pages(), page_texts[page]))
  end
end

local function render(file, vars)
  if type(file) ~= "string" then expected("render", 1, "string", file) end
  if vars ~= nil and type(vars) ~= "table" then expected("render", 2, "table", vars) end
  local body, copy, texts = open("render", file, vars, 2, 3)
  local rendered = capture(copy, for_pages(), texts)
  give_back(body, copy)
  return rendered
end

-- The layout named last, ready to run; the blocks by name; what was put out before the layout began.
local layout, blocks, inner

local function name_layout(file, vars)
  if not file then
    layout = nil
    return
  end
  if type(file) ~= "string" then expected("layout", 1, "string", file) end
  if vars ~= nil and type(vars) ~= "table" then expected("layout", 2, "table", vars) end
  local body, copy, texts = open("layout", file, vars, 2, 3)
  layout = { body, copy, texts }
end

local function set_block(name, text)
  blocks = blocks or {}
  blocks[name] = text
end

local function block(name, content)
  if type(name) ~= "string" then expected("block", 1, "string", name) end
  local kind = type(content)
  if kind == "function" then
    content = capture(content)
  elseif kind ~= "string" and kind ~= "number" then
    expected("block", 2, "function or string", content)
  end
  set_block(name, content)
end

local function start_block(name)
  if type(name) ~= "string" then expected("startBlock", 1, "string", name) end
  local caller = getinfo(2, "Sl")
  output.open_block(name, source_of(caller), caller and caller.currentline)
end

local function end_block()
  local name, text = output.close_block()
  if not name then error("endBlock: no block was started here", 2) end
  set_block(name, text)
end

local function content(name, default)
  if name == nil then return inner or "" end
  local text = blocks and blocks[name]
  if text ~= nil then return text end
  if default == nil then return "" end
  return default
end

return {
  functions = {
    include = including("include"),
    include_once = including("include_once", true),
    render = render,
    capture = capture,
    layout = name_layout,
    block = block,
    startBlock = start_block,
    endBlock = end_block,
    content = content,
  },
  set_globals = set_globals,
  -- Files with variables of their own see these globals behind them from now on.
  use_globals = function(globals) GLOBALS, SCOPE.__index, SCOPE.__newindex = globals, globals, globals end,
  reset = function() depth, layout, blocks, inner = 0, nil, nil, nil end,
  has_layout = function() return layout ~= nil end,
  -- Runs the layouts, each with the output of what named it as its content.
  run_layouts = function()
    local nested = 0
    while layout do
      nested = nested + 1
      if nested > DEEPEST then error("layouts are nested more than " .. DEEPEST .. " deep", 0) end
      local body, copy, texts = layout[1], layout[2], layout[3]
      layout, inner = nil, output.take()
      copy(for_pages(), texts)
      give_back(body, copy)
    end
  end,
  -- What runs the file that a directive names.
  runner = function(directive)
    return function(_, file)
      local body, _, texts = open(directive, file, nil, nil, 0)
      body(for_pages(), texts)
    end
  end,
}
