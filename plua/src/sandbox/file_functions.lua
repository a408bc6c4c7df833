-- The functions of files, and of texts that pages compile, where requests have globals of their own: each request takes functions
-- that see its globals, and none that a page which waits is in the middle of.
--
-- The chunk takes the functions written in Rust, what makes each file's function, by number, and the files' texts. It returns the
-- tables as a request sees them and what begins, ends, puts aside and brings back a request.
local native, makers, file_texts = ...

local error, select, setmetatable = error, select, setmetatable
local getfenv, setfenv = getfenv, setfenv
local dump, load_bytecode = string.dump, loadstring or load
local STATE = _G
local shielded = native.shielded

-- The running request's globals, none between requests, and those that chunks get, which setfenv(0) chooses.
local current, chunk_globals
local set_globals

-- What the running request has of functions, by what made them: those of requests that wait are theirs. A request that has ended
-- leaves them to the next one.
local WEAK_KEYS = { __mode = "k" }
local made = setmetatable({}, WEAK_KEYS)
-- The request that used a function last, by its number.
local serial, last_serial, bound = 0, 0, setmetatable({}, WEAK_KEYS)
-- What requests have left that ended while others waited.
local spare, MOST_SPARE = {}, 64

local files = setmetatable({}, {
  __index = function(_, number)
    local make = makers[number]
    if not make then return nil end
    local file = made[make]
    if not file then
      file = make()
      made[make] = file
    end
    if current and bound[file] ~= serial then
      bound[file] = serial
      set_globals(file, current)
    end
    return file
  end,
})

-- The texts of files too long to hold them, which page code can write to: each taker has tables of its own.
local texts = setmetatable({}, {
  __index = function(_, number)
    local groups = file_texts[number]
    if not groups then return nil end
    local mine = {}
    for i = 1, #groups do
      local of_group = { __index = groups[i], __metatable = false }
      shielded[of_group] = true
      mine[i] = setmetatable({}, of_group)
    end
    return mine
  end,
})

-- A function that compiles; its argument of that number is the chunk's environment.
local function with_globals(load, position)
  if setfenv then
    return function(...)
      local chunk, problem = load(...)
      if chunk and getfenv(chunk) == STATE then setfenv(chunk, chunk_globals or {}) end
      return chunk, problem
    end
  end
  return function(...)
    if select("#", ...) >= position then return load(...) end
    local source, name, mode = ...
    if position == 3 then return load(source, name, current or {}) end
    return load(source, name, mode, current or {})
  end
end

return {
  files = files,
  texts = texts,
  -- What makes a file's function where its own chunk is that function: copies of it, once it is in use.
  maker_of = function(file)
    local first = file
    return function()
      local own = first
      first = nil
      return own or load_bytecode(dump(file))
    end
  end,
  bind = function(set) set_globals = set end,
  begin = function(globals)
    last_serial = last_serial + 1
    serial, current, chunk_globals = last_serial, globals, globals
  end,
  finish = function()
    current, chunk_globals = nil, nil
  end,
  -- `run` between what begins a request and what ends it, unless functions are to run later; and those, with its end.
  around = function(begin, run, finish, ends_later)
    return function(...)
      begin(...)
      local fine, contents, length = run(...)
      if not ends_later() then finish() end
      return fine, contents, length
    end
  end,
  ending = function(finish_later, finish)
    return function(has_failed)
      local fine, contents, length = finish_later(has_failed)
      finish()
      return fine, contents, length
    end
  end,
  -- The globals of chunks that are compiled, if a request runs, and the same chosen by a page.
  chunks = function(chosen)
    if chosen and current then chunk_globals = chosen end
    return chunk_globals
  end,
  put_aside = function()
    local kept = { serial = serial, current = current, chunk_globals = chunk_globals, made = made }
    current, chunk_globals = nil, nil
    made = spare[#spare] or setmetatable({}, WEAK_KEYS)
    spare[#spare] = nil
    return kept
  end,
  bring_back = function(kept)
    if #spare < MOST_SPARE then spare[#spare + 1] = made end
    serial, current, chunk_globals, made = kept.serial, kept.current, kept.chunk_globals, kept.made
  end,
  -- Fits the functions that compile. `replace` puts a function in the place of one of a library's.
  fit_loading = function(replace)
    replace(STATE, "load", function(load) return with_globals(load, 4) end)
    replace(STATE, "loadstring", function(load) return with_globals(load, 4) end)
    replace(STATE, "loadfile", function(load) return with_globals(load, 3) end)
    local loadfile = STATE.loadfile
    replace(STATE, "dofile", function()
      return loadfile
        and function(...)
          local chunk, problem = loadfile((...))
          if not chunk then error(problem, 0) end
          return chunk()
        end
    end)
  end,
}
