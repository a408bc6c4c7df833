-- Globals of each request's own over the state's (pLuaGlobals page): what a page sets ends with its request, what a module keeps
-- stays with the state, and all that libraries hold is one for all.
--
-- The chunk takes what globals.lua takes, and returns what that returns.
local native, _, makers, file_texts = ...

local setmetatable = setmetatable
local STATE = _G

local functions = native.file_functions(native, makers, file_texts)

-- The running request's globals; none between requests, and before the file of pLuaInit has run.
local current
-- What timers of the running request keep of it.
local kept
local isolated = false
local composition

local OF_GLOBALS = { __index = STATE, __metatable = false }
native.shielded[OF_GLOBALS] = true

local function running()
  if isolated then return current or {} end
  return STATE
end

local function finish()
  current, kept = nil, nil
  functions.finish()
end

local function begin_with(globals)
  current = globals
  functions.begin(current)
  composition.use_globals(current)
end

local function begin()
  begin_with(setmetatable({}, OF_GLOBALS))
  current._G = current
end

local function replace(library, name, make)
  local original = library and library[name]
  if original then library[name] = make(original) end
end

return {
  files = functions.files,
  texts = functions.texts,
  maker_of = functions.maker_of,
  running = running,
  chunks = function(chosen) return functions.chunks(chosen) or running() end,
  calls_of = function() end,
  isolate = function()
    isolated = true
    functions.fit_loading(replace)
  end,
  around = function(run, finish_later, of_composition, ends_later)
    composition = of_composition
    functions.bind(composition.set_globals)
    local run_apart = functions.around(begin, run, finish, ends_later)
    return function(...)
      if not isolated then return run(...) end
      return run_apart(...)
    end,
      functions.ending(finish_later, finish)
  end,
  after = function(change) return change end,
  -- What `around_timer` gives a function that runs after its request.
  keep = function()
    if current and not kept then kept = { globals = current } end
    return kept
  end,
  around_timer = function(run, ends_later)
    return functions.around(function(timer)
      if not timer or not timer.globals then return begin() end
      begin_with(timer.globals.globals)
      kept = timer.globals
    end, run, finish, ends_later)
  end,
  put_aside = function()
    local page = { current = current, kept = kept, functions = functions.put_aside() }
    current, kept = nil, nil
    return page
  end,
  bring_back = function(page)
    current, kept = page.current, page.kept
    functions.bring_back(page.functions)
    composition.use_globals(current)
  end,
}
