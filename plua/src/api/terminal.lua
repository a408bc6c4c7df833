-- The shell: a page whose code a person types, entry by entry. Each entry is a chunk of its own, all of them are one request.
--
-- The chunk takes the functions of terminal.rs, what prelude.lua has of Lua's own, the output and the handling of errors. It
-- returns what such a page runs: a function of the page's globals.
local terminal, originals, output, call_with_handler, described, check_ending = ...

local next, pcall, rawequal, rawget, select, tostring, type = next, originals.pcall, rawequal, rawget, select, tostring, type
local find, format, gmatch, gsub, match, sub =
  string.find, string.format, string.gmatch, string.gsub, string.match, string.sub
local byte, floor = string.byte, math.floor
local concat, sort = table.concat, table.sort
local metatable_of = originals.metatable_of

-- Of a value: how deep tables are shown, how many entries of each and of all together, how many bytes of a text, and how wide a
-- table may be on one line.
local DEEPEST, MOST_ENTRIES, MOST_IN_ALL, LONGEST, WIDTH = 6, 100, 1000, 2000, 80

-- So many entries are kept for reports, and so many names offered.
local MOST_SOURCES, MOST_NAMES = 1000, 2000

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }
local function quoted(text)
  local cut = #text > LONGEST and " ... (" .. #text .. " bytes)" or ""
  text = gsub(sub(text, 1, LONGEST), '[%c"\\]', function(mark) return ESCAPES[mark] or format("\\%03d", byte(mark)) end)
  return '"' .. text .. '"' .. cut
end

local KEYWORDS = {}
local WORDS =
  "and break do else elseif end false for function goto if in local nil not or repeat return then true until while"
for word in gmatch(WORDS, "%a+") do
  KEYWORDS[word] = true
end

local function is_name(key) return type(key) == "string" and match(key, "^[%a_][%w_]*$") and not KEYWORDS[key] end

local RANK = { number = 1, string = 2, boolean = 3 }
local function comes_before(one, other)
  local kind, other_kind = type(one), type(other)
  if kind ~= other_kind then return (RANK[kind] or 4) < (RANK[other_kind] or 4) end
  if kind == "number" or kind == "string" then return one < other end
  return tostring(one) < tostring(other)
end

-- Whether a key is one of 1 to `count`.
local function is_index(key, count) return type(key) == "number" and key >= 1 and key <= count and floor(key) == key end

-- The keys that are shown after the values 1 to `count`, and how many more there are.
local function named_keys(value, count)
  local keys, more = {}, 0
  for key in next, value do
    if not is_index(key, count) then
      -- By functions as keys objects hide what is not for others.
      if #keys < MOST_ENTRIES and type(key) ~= "function" then
        keys[#keys + 1] = key
      else
        more = more + 1
      end
    end
  end
  sort(keys, comes_before)
  return keys, more
end

-- A value as text. `around` are the tables that it is in; `left` is how many entries may still be shown.
local shown
local function shown_table(value, indent, around, left)
  if around[value] then return "<cycle>" end
  if next(value) == nil then return "{}" end
  if around.depth == DEEPEST then return "{...}" end
  local count = 0
  while rawget(value, count + 1) ~= nil do
    count = count + 1
  end
  local keys, more = named_keys(value, count)
  local inner = indent .. "  "
  local pieces, width, is_long = {}, #indent, false
  local function add(piece)
    pieces[#pieces + 1] = piece
    width = width + #piece + 2
    is_long = is_long or width > WIDTH or find(piece, "\n", 1, true) ~= nil
  end
  around[value], around.depth = true, around.depth + 1
  for i = 1, count do
    if i > MOST_ENTRIES or left.entries <= 0 then
      more = more + count - i + 1
      break
    end
    left.entries = left.entries - 1
    add(shown(value[i], inner, around, left))
  end
  for at = 1, #keys do
    if left.entries <= 0 then
      more = more + #keys - at + 1
      break
    end
    left.entries = left.entries - 1
    local key = keys[at]
    local name = is_name(key) and key or "[" .. shown(key, inner, around, left) .. "]"
    add(name .. " = " .. shown(rawget(value, key), inner, around, left))
  end
  around[value], around.depth = nil, around.depth - 1
  if more > 0 then add("... " .. more .. " more") end
  if not is_long then return "{ " .. concat(pieces, ", ") .. " }" end
  return "{\n" .. inner .. concat(pieces, ",\n" .. inner) .. "\n" .. indent .. "}"
end

function shown(value, indent, around, left)
  local kind = type(value)
  if kind == "string" then return quoted(value) end
  if rawequal(value, originals.null) then return "json.null" end
  local metatable = metatable_of(value)
  local says = type(metatable) == "table" and rawget(metatable, "__tostring") ~= nil
  if kind == "table" and not says then return shown_table(value, indent, around, left) end
  local fine, text = pcall(tostring, value)
  if not fine or type(text) ~= "string" then return kind .. " whose __tostring fails" end
  -- Where it is in memory tells nobody anything.
  if not says and kind ~= "number" then text = gsub(text, ": 0x%x+$", "") end
  return text
end

local function show(count, ...)
  local values = { ... }
  for i = 1, count do
    values[i] = shown(values[i], "", { depth = 0 }, { entries = MOST_IN_ALL })
  end
  terminal.show(concat(values, "\n"))
end

-- What the page has put out goes to the terminal, unless something captures it.
local function drain()
  if output.level() > 0 then return end
  terminal.write(output.contents())
  output.sent()
end

-- The fields of a value by name, as far as nothing has to be called for them.
local function each_field(value, visit)
  for _ = 1, 10 do
    if type(value) == "table" then
      for key, field in next, value do
        if is_name(key) then visit(key, field) end
      end
    end
    local metatable = metatable_of(value)
    local index = type(metatable) == "table" and rawget(metatable, "__index")
    if type(index) ~= "table" or index == value then return end
    value = index
  end
end

local function field_of(value, name)
  local found
  each_field(value, function(key, field)
    if found == nil and key == name then found = field end
  end)
  return found
end

-- What `plua` gives without holding it.
local LATE = { "ctx", "session", "shared" }

-- Where the name begins that a text ends with, from 0, and the names it may become.
local function completions(globals, text)
  local chain, mark, start = match(text, "([%w_%.:]-)([%.:]?)([%w_]*)$")
  local value = globals
  for name in gmatch(chain, "[%w_]+") do
    value = field_of(value, name)
  end
  -- A number's digits, or a text's own dots.
  if chain == "" and mark ~= "" or value == nil then return #text - #start, {} end
  local names, is_known = {}, {}
  local function offer(name)
    if not is_known[name] and sub(name, 1, #start) == start and #names < MOST_NAMES then
      is_known[name], names[#names + 1] = true, name
    end
  end
  each_field(value, function(name, field)
    if mark ~= ":" or type(field) == "function" then offer(name) end
  end)
  if value == globals then
    for word in next, KEYWORDS do
      offer(word)
    end
  elseif value == rawget(globals, "plua") then
    for i = 1, #LATE do
      offer(LATE[i])
    end
  end
  sort(names)
  return #text - #start, names
end

-- Whether a message of the compiler's says that the text goes on.
local function ends_early(problem) return find(problem, "near '?<eof>'?$") ~= nil end

return function(globals)
  -- As pages have it.
  local compile = globals.loadstring or globals.load

  -- An entry as a function: as an expression, whose value is shown, or as statements.
  local function compiled(entry, name)
    local expression = match(entry, "^%s*=(.*)$")
    local body, problem = compile("return " .. (expression or entry), name)
    if body or expression then return body, problem end
    local of_expression = problem
    body, problem = compile(entry, name)
    if not body and ends_early(of_expression) then problem = of_expression end
    return body, problem
  end

  local function is_unfinished(entry)
    local body, problem = compiled(entry, "=entry")
    return not body and ends_early(problem)
  end

  for _, name in next, { "echo", "print" } do
    local put = rawget(globals, name)
    if put then globals[name] = function(...)
      put(...)
      drain()
    end end
  end

  -- Runs what an entry became; what it failed with if it did.
  local function run(body)
    local function finish(fine, ...)
      check_ending()
      if not fine then return (...) end
      drain()
      if select("#", ...) > 0 then show(select("#", ...), ...) end
    end
    return finish(call_with_handler(body, described))
  end

  local sources, number = {}, 0
  local function enter(entry)
    number = number + 1
    local name = "entry " .. number
    sources[name], sources["entry " .. (number - MOST_SOURCES)] = entry, nil
    local body, problem = compiled(entry, "@" .. name)
    if not body then return terminal.refuse(problem, name, entry) end
    local is_whole, problem_of_run = terminal.call(run, body)
    check_ending()
    output.unwind(0)
    drain()
    local files = rawget(globals, "io")
    if type(files) == "table" and files.stdout then pcall(files.stdout.flush, files.stdout) end
    if is_whole == nil then
      terminal.tell_of_interruption()
    elseif type(problem_of_run) == "table" then
      terminal.fail(problem_of_run[1], problem_of_run[2], name, sources)
    elseif problem_of_run then
      terminal.fail(problem_of_run, nil, name, sources)
    end
  end

  local read = terminal.reader(is_unfinished, function(text) return completions(globals, text) end)
  for entry in read do
    if find(entry, "%S") then enter(entry) end
  end
end
