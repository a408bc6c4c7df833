-- Pages made of several files: include, render, layouts and their blocks.
--
-- The chunk takes what it needs of the state's own code. It returns the page functions, and what runs around a page.
-- `aside` has the pages that wait while others run.
local native, output, pages, page_texts, identities, call_with_handler, described, message_of, frames, check_ending, aside =
  ...

local error, next, remove, select, setmetatable, type = error, next, table.remove, select, setmetatable, type
local unpack = unpack or table.unpack
local match = string.match
local dump, load_bytecode, setfenv = string.dump, loadstring or load, setfenv
local getinfo, upvaluejoin = debug.getinfo, debug.upvaluejoin
local level, unwind, capture = output.level, output.unwind, output.capture
local for_pages, marks = output.for_pages, output.marks
-- Where the allocator raises the memory limit.
local stop_over_memory = native.stop_over_memory

local DEEPEST = 100
local depth = 0

-- Files see `vars` before the globals; what they assign under other names is global.
local GLOBALS = _G
local SCOPE = { __index = GLOBALS, __newindex = GLOBALS, __metatable = false }
native.shielded[SCOPE] = true

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

local function scope_of(vars)
  local scope = {}
  for name, value in next, vars do
    scope[name] = value
  end
  return setmetatable(scope, SCOPE)
end

-- Functions that the file keeps among its texts do not see the variables, so the copy gets the texts alone.
local function copy_with(vars, body, texts)
  local copy = copies[body] and remove(copies[body]) or load_bytecode(dump(body))
  set_globals(copy, scope_of(vars))
  if not texts then return copy end
  local alone = {}
  for i = 1, #texts do
    alone[i] = texts[i]
  end
  return copy, alone
end

local function give_back(body, copy)
  -- What the call was given is not kept until the next one.
  set_globals(copy, GLOBALS)
  local unused = copies[body]
  if unused then
    unused[#unused + 1] = copy
  else
    copies[body] = { copy }
  end
end

local function expected(name, position, what, value)
  error(
    "bad argument #"
      .. position
      .. " to '"
      .. name
      .. "' ("
      .. what
      .. " expected, got "
      .. (value == nil and "no value" or type(value))
      .. ")",
    3
  )
end

-- A file that the page has sent before all other output is part of what a layout gets.
local function held_bytes()
  local ok, bytes = native.held_bytes()
  if not ok then error(bytes, 0) end
  return bytes or ""
end

local function source_of(caller) return caller and caller.source or nil end

-- The files that requests have included, numbered by identity, and for each number the last request to do so. What
-- hundreds of includes look at lies in few tables, side by side: processes that take turns find little of it in a
-- processor's cache.
local numbers, numbered, included = {}, 0, {}
local serial, last_serial = 0, 0

local function number_of(identity)
  local number = numbers[identity]
  if not number then
    number = numbered + 1
    numbers[identity], numbered, included[number] = number, number, 0
  end
  return number
end

-- Where names led, believed for `lifetime` seconds (pLuaRevalidate): a place in the lists of pages, of numbers of files
-- and of times, by name, in a table of their own for each folder of pages and each way of reading files. `known` is that
-- of the request, once it was asked for. Asking costs as much as all the rest of 20 includes, so for pages that have
-- included, by number, it is kept in mind as well.
local lifetime, find_place, seconds = native.revalidate, native.place, native.seconds
if jit then seconds = require("ffi").cast("double (*)(void)", seconds) end
local UNKNOWN = {}
local MOST_REMEMBERED, LONGEST_REMEMBERED = 1000, 256
local places, remembered = {}, 0
local led_to, files, looked_at = {}, {}, {}
local known, now, oldest = UNKNOWN, 0, 0
local known_of = {}

local function look_at_clock()
  now = seconds()
  oldest = now - lifetime
end

local function enter_place()
  local place = find_place()
  if not place then
    known = UNKNOWN
    return
  end
  look_at_clock()
  known = places[place]
  if not known then
    known = {}
    if remembered < MOST_REMEMBERED then
      places[place], remembered = known, remembered + 1
    end
  end
  if remembered < MOST_REMEMBERED then
    known_of[marks.page], remembered = known, remembered + 1
  end
end

local function remember(name, page, file)
  if known == UNKNOWN or #name > LONGEST_REMEMBERED then return end
  local at = known[name]
  if not at then
    if remembered == MOST_REMEMBERED then return end
    at = #led_to + 1
    known[name], remembered = at, remembered + 1
  end
  led_to[at], files[at], looked_at[at] = page, file, now
end

-- Function and number of a page that need not be looked at again, and the number of its file; nothing for any other.
local function recall(name)
  if not known then enter_place() end
  local at = known[name]
  if at and looked_at[at] > oldest then
    local page = led_to[at]
    -- It is gone when its file was found changed under another name, or others took its place.
    return pages[page], page, files[at]
  end
end

local function forget()
  numbers, numbered, included = {}, 0, {}
  places, known_of, remembered = {}, {}, 0
  led_to, files, looked_at = {}, {}, {}
end

-- The layout named last, ready to run; the blocks by name; what was put out before the layout began.
local layout, blocks, inner

-- Forgets the request before. Most pages are of one file, so this waits for the first function that needs it.
local function begin()
  marks.composes, marks.needs_reset = 1, 1
  depth, layout, blocks, inner = 0, nil, nil, nil
  last_serial = last_serial + 1
  serial = last_serial
  -- Those that wait have numbers in mind.
  if (numbered > MOST_REMEMBERED or remembered >= MOST_REMEMBERED) and next(aside) == nil then forget() end
  if lifetime == 0 then return end
  known = known_of[marks.page]
  if known then look_at_clock() end
end

-- What native.include answers, with the file's number if it is there. `level` is where the including file is called;
-- none, and its folder is not searched. Which file that is takes Lua a walk and a table, so it is asked when the
-- requested page's folder has no such file.
local find_file = native.include
local function find(file, level)
  local ok, page, problem, detail = find_file(file)
  if level and (not ok or not page and not problem) then
    ok, page, problem, detail = find_file(file, source_of(getinfo(level + 1, "S")))
  end
  if not ok or not page then return ok, page, problem, detail and number_of(detail) end
  local number = number_of(identities[page])
  if detail then remember(file, page, number) end
  return true, page, nil, number
end

-- The file's function, one that sees `vars` if there are any, and its texts. Raises what is wrong, at `place`.
local function open(name, file, vars, level, place)
  if marks.composes == 0 then begin() end
  local body, page, number = recall(file)
  local ok, problem = true, nil
  if not body then
    ok, page, problem, number = find(file, level and level + 1)
  end
  if number then included[number] = serial end
  if not ok then error(page, place) end
  if problem then error(problem, 0) end
  if not page then error(name .. ": there is no file '" .. file .. "'", place) end
  body = body or pages[page]
  if not vars then return body, body, page_texts[page] end
  return body, copy_with(vars, body, page_texts[page])
end

-- Whether that ends the page: then nothing is reported yet.
local function report(message, calls)
  local _, shown, ends_page = native.include_failed(message, calls)
  if shown then output.put(shown) end
  return ends_page
end

-- A file's function takes any arguments. LuaJIT compiles no return of such a function to `xpcall`, so another one stands
-- between, which gives the number of results and the only one, or a table of them.
local function counted(...)
  local count = select("#", ...)
  if count < 2 then return count, (...) end
  return count, { ... }
end

local function call(body, slots, texts)
  local count, results = counted(body(slots, texts))
  return count, results
end

local function finish(body, copy, before, at, fine, count, results)
  depth = before
  check_ending()
  if copy ~= body then give_back(body, copy) end
  if fine then
    if count == 0 then return true end
    if count == 1 then return true, results end
    return true, unpack(results, 1, count)
  end
  unwind(at)
  local problem = count
  if stop_over_memory then stop_over_memory(problem) end
  if type(problem) ~= "table" then problem = { message_of(problem), {} } end
  if report(problem[1], problem[2]) then error(problem[1], 0) end
  return false
end

local function including(name, once)
  return function(file, vars)
    if marks.composes == 0 then begin() end
    if depth >= DEEPEST then error(name .. " is nested more than " .. DEEPEST .. " deep", 2) end
    if type(file) ~= "string" then expected(name, 1, "string", file) end
    if vars ~= nil and type(vars) ~= "table" then expected(name, 2, "table", vars) end
    local body, page, number = recall(file)
    if not body then
      local ok, problem
      ok, page, problem, number = find(file, 2)
      if not ok then error(page, 2) end
      if number then
        if once and included[number] == serial then return true end
        included[number] = serial
      end
      if problem then report(nil, frames(2)) end
      if not page then return false end
      body = pages[page]
    elseif once and included[number] == serial then
      return true
    else
      included[number] = serial
    end
    local copy, texts = body, page_texts[page]
    if vars then
      copy, texts = copy_with(vars, body, texts)
    end
    local before = depth
    depth = before + 1
    return finish(body, copy, before, level(), call_with_handler(call, described, copy, for_pages(), texts))
  end
end

local function render(file, vars)
  if type(file) ~= "string" then expected("render", 1, "string", file) end
  if vars ~= nil and type(vars) ~= "table" then expected("render", 2, "table", vars) end
  local body, copy, texts = open("render", file, vars, 2, 3)
  local rendered = capture(copy, for_pages(), texts)
  if copy ~= body then give_back(body, copy) end
  return rendered
end

-- Functions made of texts by name and text, and the bytes of all texts together.
local compiled, compiled_bytes = {}, 0
local MOST_COMPILED = 4194304
-- As long as a path.
local LONGEST_NAME = 4096
-- Whether requests have globals of their own, which a function is given each time.
local rebinds = false

local function returned(unused, copy, ...)
  set_globals(copy, GLOBALS)
  unused[#unused + 1] = copy
  return ...
end

-- `unused` are the copies of the function that no call is using, the function itself among them.
local function run_compiled(body, texts, vars, unused)
  if vars == nil and not rebinds then return body(for_pages(), texts) end
  if vars ~= nil and type(vars) ~= "table" then expected("the function of a compiled text", 1, "table", vars) end
  local copy = remove(unused) or load_bytecode(dump(body))
  set_globals(copy, vars and scope_of(vars) or GLOBALS)
  return returned(unused, copy, copy(for_pages(), texts))
end

local function compile(text, name)
  if type(text) ~= "string" then expected("plua.compile", 1, "string", text) end
  if name == nil then
    name = "text"
  elseif type(name) ~= "string" then
    expected("plua.compile", 2, "string", name)
  end
  if #name > LONGEST_NAME then
    error("bad argument #2 to 'plua.compile' (a name of " .. LONGEST_NAME .. " bytes at most expected)", 2)
  end
  local of_name = compiled[name]
  local known = of_name and of_name[text]
  if known then return known end
  local ok, body, texts = native.compile(text, name)
  if not ok then error(body, 2) end
  if not body then return nil, texts end
  local unused = { rebinds and body or nil }
  local function run(vars) return run_compiled(body, texts, vars, unused) end
  compiled_bytes = compiled_bytes + #text + #name
  if compiled_bytes > MOST_COMPILED then
    compiled, compiled_bytes = {}, #text + #name
  end
  of_name = compiled[name] or {}
  compiled[name], of_name[text] = of_name, run
  return run
end

local function this_file()
  local file = source_of(getinfo(2, "S"))
  return file and match(file, "^@(/.*)$") or nil
end

local function name_layout(file, vars)
  if not file then
    layout = nil
    return
  end
  if type(file) ~= "string" then expected("layout", 1, "string", file) end
  if vars ~= nil and type(vars) ~= "table" then expected("layout", 2, "table", vars) end
  local body, copy, texts = open("layout", file, vars, 2, 3)
  layout, marks.may_wait = { body, copy, texts }, 1
end

local function set_block(name, text)
  if marks.composes == 0 then begin() end
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
  if marks.composes == 0 then begin() end
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
  compile = compile,
  this_file = this_file,
  set_globals = set_globals,
  -- Files with variables of their own see these globals behind them from now on.
  use_globals = function(globals)
    GLOBALS, SCOPE.__index, SCOPE.__newindex = globals, globals, globals
    -- A page may keep what it was given for another one to call.
    if not rebinds then
      rebinds, compiled, compiled_bytes = true, {}, 0
    end
  end,
  -- What the page that waits has here, which is nothing to others until it is brought back.
  put_aside = function()
    if marks.composes == 0 then return nil end
    local kept = {
      depth = depth,
      layout = layout,
      blocks = blocks,
      inner = inner,
      serial = serial,
      included = included,
    }
    included = {}
    return kept
  end,
  bring_back = function(kept)
    -- What is known of names is that of another folder.
    known = UNKNOWN
    if lifetime > 0 then known = nil end
    if not kept then return end
    depth, layout, blocks, inner = kept.depth, kept.layout, kept.blocks, kept.inner
    serial, included = kept.serial, kept.included
  end,
  -- How deep the files are nested that another light thread is in.
  exchange_depth = function(of_other)
    local before = depth
    depth = of_other
    return before
  end,
  -- Files are not read as for the page before.
  read_anew = function()
    known_of, compiled, compiled_bytes = {}, {}, 0
  end,
  -- Reports what a part of the page raised, in its place; gives whether that ends the page, and then it does not.
  report = report,
  has_layout = function() return marks.composes ~= 0 and layout ~= nil end,
  -- Runs the layouts, each with the output of what named it as its content.
  run_layouts = function()
    local nested = 0
    while layout do
      nested = nested + 1
      if nested > DEEPEST then error("layouts are nested more than " .. DEEPEST .. " deep", 0) end
      local body, copy, texts = layout[1], layout[2], layout[3]
      layout, inner = nil, held_bytes() .. output.take()
      copy(for_pages(), texts)
      if copy ~= body then give_back(body, copy) end
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
