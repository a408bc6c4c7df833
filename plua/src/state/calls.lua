-- What is told of a failure while its calls are still active: these calls, the variables of the innermost one, and what was raised
-- as a text.
--
-- The chunk takes the functions written in Rust, and whether a function is the engine's or written in C, by what getinfo says of it.
-- It returns what lists the calls, and what makes the text.
local native, is_engine = ...

local pcall, rawget, tostring, type = pcall, rawget, tostring, type
local match, sub = string.match, string.sub
local getinfo, getlocal, getupvalue, metatable_of = debug.getinfo, debug.getlocal, debug.getupvalue, debug.getmetatable
local huge = math.huge

-- The calls that are active from a level on, innermost first: { source, line, name, what } each. The engine's own functions
-- and those written in C are left out. `what` is "main" for the code of a file, which begins with a variable of the engine's.
-- Where the visitor sees reports, the list has in `locals` what the innermost one's local variables are.
local DEEPEST_FRAME = 60
local MOST_LOCALS = 60
local OF_ENGINE = { __plua = true, __texts = true, _ENV = true }
local shows_reports, shown_locals = native.shows_reports, native.shown_locals

-- Names and values in turn, as texts, of the local variables that the function called at a level uses.
local function locals_at(level)
  local names, values, count, places = {}, {}, 0, {}
  -- Lua's own have names in brackets.
  local function note(name, value, place)
    if match(name, "^%(") or OF_ENGINE[name] or not place and count == MOST_LOCALS then return end
    if not place then
      count = count + 1
      place = count
    end
    names[place], values[place], places[name] = name, value, place
  end
  for i = 1, huge do
    local name, value = getlocal(level, i)
    if not name then break end
    -- Of those with one name the last is the one that the code sees.
    note(name, value, places[name])
  end
  -- Those of the functions around it that it uses.
  local called = getinfo(level, "f").func
  for i = 1, huge do
    local name, value = getupvalue(called, i)
    if not name then break end
    if not places[name] then note(name, value) end
  end
  return shown_locals(names, values, count)
end

local function frames(level)
  local list = {}
  while #list < DEEPEST_FRAME do
    local info = getinfo(level, "Sln")
    if not info then break end
    if not is_engine(info) and info.currentline > 0 then
      if #list == 0 and shows_reports() then
        -- Two levels more: its own and that of `pcall`. What is too much for it costs the report no more than this.
        local fine, texts = pcall(locals_at, level + 2)
        if fine then list.locals = texts end
      end
      local what = getlocal(level, 1) == "__plua" and "main" or info.what
      list[#list + 1] = { info.source, info.currentline, info.name or "", what }
    end
    level = level + 1
  end
  return list
end

local function whole_message_of(problem)
  local kind = type(problem)
  if kind == "string" or kind == "number" then return tostring(problem) end
  if problem == nil then return "error without a message (nil)" end
  local metatable = metatable_of(problem)
  if type(metatable) == "table" and rawget(metatable, "__tostring") ~= nil then
    local ok, shown = pcall(tostring, problem)
    if ok and type(shown) == "string" then return shown end
    return "error object whose __tostring fails"
  end
  return "error object is a " .. kind .. " without __tostring"
end

-- Longer than any message for people. What a report makes of it is beyond all limits.
local LONGEST_MESSAGE = 16384
local function message_of(problem)
  local message = whole_message_of(problem)
  return #message > LONGEST_MESSAGE and sub(message, 1, LONGEST_MESSAGE) .. "..." or message
end

return frames, message_of
