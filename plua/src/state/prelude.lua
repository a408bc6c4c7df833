-- What every state holds before a page runs: the page functions written in Lua, and the way Rust runs a page.
--
-- `native` holds the functions written in Rust, `ignored` the libraries pages do not get. A native function never
-- raises: it returns true and its results, or false and a message, so that pages see plain string errors that
-- point at their own line. `stops` holds what the limits raise that stop a page. The chunk returns a table of the functions and
-- tables that Rust uses.
local native, ignored, stops = ...

local error, next, pcall, rawget, rawset, select, setmetatable, tostring, type, xpcall =
  error, next, pcall, rawget, rawset, select, setmetatable, tostring, type, xpcall
local unpack = unpack or table.unpack
local lower, match = string.lower, string.match
local loaded = package.loaded
local metatable_of, sethook, set_metatable = debug.getmetatable, debug.sethook, debug.setmetatable
local huge = math.huge

-- Why the running page must end although nothing is wrong: nil, "exit" or "client gone". While it is set no protected call
-- returns to page code: each raises ENDING again.
local ending
local ENDING = setmetatable({}, { __metatable = false, __tostring = function() return "the page has ended" end })

local output = native.output(native)
local put, level, unwind, for_pages, marks = output.put, output.level, output.unwind, output.for_pages, output.marks
local sandboxed = native.is_sandboxed

-- LuaJIT's own, which pages may not have.
local ffi = jit and loaded.ffi

-- Metatables of the engine's that `debug` gives no page whose request has globals of its own.
local shielded = setmetatable({}, { __mode = "k" })
native.shielded = shielded

-- At 1,000 loops of all its pages together, or 2 MB of code, LuaJIT by itself throws all compiled code away.
if jit then jit.opt.start("maxtrace=8000", "maxmcode=8192") end

-- Whether code is written in C or the engine's own, by what getinfo says of its source.
local function is_engine(info) return info.what == "C" or info.source == "=plua" end

-- Before `pcall` is replaced below.
local frames, message_of = native.calls(native, is_engine)

local function check_ending()
  if ending then error(ENDING, 0) end
end

-- After a protected call: `open` buffers were open before it.
local function leave(open, ok, ...)
  check_ending()
  if not ok then unwind(open) end
  return ok, ...
end

-- PUC Lua's allocator raises where the memory limit is reached, which a page could catch and go on. LuaJIT's raises in
-- the hook, again and again.
if not jit then
  local find, plain_leave = string.find, leave
  local function is_out_of_memory(problem)
    if type(problem) == "userdata" then problem = tostring(problem) end
    return type(problem) == "string" and find(problem, "not enough memory", 1, true)
  end
  function native.stop_over_memory(problem)
    if is_out_of_memory(problem) and native.go_over_memory() then
      -- It strikes in a moment.
      while true do
      end
    end
  end
  function leave(open, ok, ...)
    if not ok then native.stop_over_memory((...)) end
    return plain_leave(open, ok, ...)
  end
end

_G.pcall = function(...) return leave(level(), pcall(...)) end

-- LuaJIT and 5.4 hand extra arguments to the function; 5.1 does not, so a closure carries them.
local passes_arguments = select(2, xpcall(function(...) return select("#", ...) end, tostring, 1)) == 1
local call_with_handler = xpcall
if not passes_arguments then
  function call_with_handler(run, handler, ...)
    if select("#", ...) == 0 then return xpcall(run, handler) end
    local count, values = select("#", ...), { ... }
    return xpcall(function() return run(unpack(values, 1, count)) end, handler)
  end
end

-- A handler runs where the error is raised. For those limits that is inside the hook, where no hook stops it any
-- more, so it gets no say there.
_G.xpcall = function(run, handler, ...)
  return leave(
    level(),
    call_with_handler(run, function(problem)
      if ending or stops[problem] then return problem end
      return handler(problem)
    end, ...)
  )
end

local begin_in_folder, watch_ffi, note_folder = native.working_directory(native, marks)
native.long_calls(native)
local light_threads = native.light_threads(native, marks, output, call_with_handler, stops)
local timers = native.timers(native, marks, light_threads)
local connect, fetch = native.sockets(native, light_threads), native.fetch(native, light_threads)
native.nesting(native, leave, level, debug, stops, light_threads)

local function end_page(why)
  ending, marks.needs_reset = why, 1
  error(ENDING, 0)
end

local function exit() end_page("exit") end

-- Page functions written in Rust, by their number of results; their errors point at the line that called them.
local page_functions = {
  [0] = function(run)
    return function(...)
      local ok, message = run(...)
      if not ok then error(message, 2) end
    end
  end,
  function(run)
    return function(...)
      local ok, first = run(...)
      if not ok then error(first, 2) end
      return first
    end
  end,
  function(run)
    return function(...)
      local ok, first, second = run(...)
      if not ok then error(first, 2) end
      return first, second
    end
  end,
  function(run)
    return function(...)
      local ok, first, second, third = run(...)
      if not ok then error(first, 2) end
      return first, second, third
    end
  end,
}

-- Pages as compiled functions, by number, with the texts of those too long to hold them, and what tells their files apart.
local pages, page_texts, identities = {}, {}, {}
local loaded_pages, loaded_texts = pages, page_texts
-- Where requests have globals of their own, each takes the functions with these, and `pages` has what makes them.
local make_globals = native.globals or native.page_globals
local globals = make_globals
  and make_globals(
    native,
    is_engine,
    pages,
    page_texts,
    call_with_handler,
    frames,
    function(problem) return ending or stops[problem] end
  )
if globals then
  pages, page_texts = globals.files, globals.texts
end

if globals then timers.keep_globals_with(globals.keep) end

-- Handler of pages and included files: what was raised, as { message, frames }, while the calls are still active.
local function described(problem)
  if ending or stops[problem] then return problem end
  local message = message_of(problem)
  -- A file or a captured function that lays its error to its caller, with level 2, names a line of the engine's.
  return { match(message, "^plua:%d+: (.*)$") or message, globals and globals.calls_of(problem) or frames(3) }
end

-- The pages that wait while others run, by number, with all that they have of the state.
local aside = {}

local composition = native.composition(
  native,
  output,
  pages,
  page_texts,
  identities,
  call_with_handler,
  described,
  message_of,
  frames,
  check_ending,
  aside
)

local at_end, ends_later, is_withheld, run_at_end, exchange_at_end = native.at_end(
  native,
  marks,
  output,
  call_with_handler,
  described,
  composition.report,
  function(why)
    local before = ending
    ending = why
    return before
  end
)

light_threads.bind(check_ending, described, composition.report, composition.exchange_depth, end_page)

-- What a page says of the collector holds for its request.
local collect = collectgarbage
local gc_changed = false
local GC_SETTINGS =
  { stop = true, restart = true, setpause = true, setstepmul = true, incremental = true, generational = true }
local GC_PAUSE, GC_STEP = collect("setpause", 200), collect("setstepmul", 200)
local function restore_gc()
  gc_changed = false
  if not loadstring then collect("incremental") end
  collect("setpause", GC_PAUSE)
  collect("setstepmul", GC_STEP)
  collect("restart")
end
restore_gc()
_G.collectgarbage = function(what, ...)
  if GC_SETTINGS[what] then
    gc_changed, marks.needs_reset = true, 1
  end
  return collect(what, ...)
end

-- What a page does to random numbers holds for its request: the next visitor's are not its to foretell.
local random_seed = math.randomseed
local is_seeded = true
local function seed_anew()
  is_seeded = false
  random_seed(native.random_seed())
end
function math.randomseed(...)
  is_seeded, marks.needs_reset = true, 1
  return random_seed(...)
end

local failure

-- The request's own table (plua.ctx), once something asked for it.
local context

-- A file's function takes any arguments. LuaJIT compiles no return of such a function to `xpcall`, so another one stands
-- between.
local function call(body, slots, argument) body(slots, argument) end

-- Whether a function ran to its end; if it did not and the page is not ending, `failure` says why.
local function step(body, argument)
  local fine, problem = call_with_handler(call, described, body, for_pages(), argument)
  if not fine then
    failure, marks.needs_reset = problem, 1
  end
  return fine
end

-- Whether no block is still open.
local function has_ended_blocks()
  local block = not ending and output.unended_block()
  if not block then return true end
  local message = "block '" .. block[1] .. "' is still open at the end of the page: endBlock() is missing"
  failure = { message_of(message), { { block[2], block[3], "", "main" } } }
  return false
end

local run_prepended, run_appended = composition.runner("pLuaPrepend"), composition.runner("pLuaAppend")

-- Whether Rust may call a page itself after one that only put out text. Else there is more to do for each page, or something
-- may run between its end and the answer, and put out more.
local is_called_by_rust = output.address and not globals and not sandboxed

local set_times_right, keeps_times

-- Once a page of the state has had a session: what forgets it, and what exchanges it for that of another page.
local forget_session, exchange_session

-- Sets right what the page before has changed.
local function set_right()
  ending, failure, context = nil, nil, nil
  light_threads.reset()
  if forget_session then forget_session() end
  if gc_changed then restore_gc() end
  if is_seeded then seed_anew() end
  output.reset()
  marks.needs_reset = not set_times_right() and is_called_by_rust and 0 or 1
  begin_in_folder()
end

-- Puts together what a page left that has run to its end, or was ended although nothing is wrong. Gives what the functions
-- for Rust give: whether the page has an output, and that, if it is not what is in the area.
local function put_together()
  context = nil
  if level() > 0 then
    if not has_ended_blocks() then return false end
    output.settle()
  end
  return true, output.contents()
end

-- Completes a page that has run, to its end if all was `fine`. Where functions are to run at its end, Rust calls for them.
local function complete(fine, append)
  if fine and not append and marks.needs_reset == 0 then return true end
  fine = fine
    and (not light_threads.is_unsettled() or step(light_threads.settle))
    and (level() == 0 or has_ended_blocks())
    and (not composition.has_layout() or step(composition.run_layouts))
    and (not append or step(run_appended, append))
  if not fine and not ending then return false end
  if ends_later() then return true end
  return put_together()
end

-- Runs a page, between the files `prepend` and `append` if they are given, and the layouts it names. `read_anew` when the
-- settings have changed by which files are read.
local function run(number, prepend, append, read_anew)
  set_right()
  marks.page, marks.composes, marks.may_wait = number, 0, 0
  if sandboxed or globals then output.renew() end
  if read_anew then composition.read_anew() end
  -- Taken before other files are loaded, which may push this one out of the cache.
  local page, texts = pages[number], page_texts[number]
  if prepend then
    if not step(run_prepended, prepend) then return complete(false) end
    output.begin_page()
  end
  return complete(step(page, texts), append)
end

-- Runs the function of a timer as a page: what it puts out goes nowhere. Whether it is there and ran to its end.
local function run_timer(timer)
  set_right()
  marks.page, marks.composes, marks.may_wait = 0, 0, 1
  if sandboxed or globals then output.renew() end
  return complete(not timer or step(timers.call, timer))
end
if globals then run_timer = globals.around_timer(run_timer, ends_later) end
local function run_timer_number(number) return run_timer(timers.take(number)) end

-- What Rust calls a page with, as page_call.rs says. `problem` is where it leaves what the page raised.
local problem = { false }
local call_parts = is_called_by_rust
    and { described, pages, page_texts, for_pages(), problem, call_with_handler, call, light_threads.note_base }
  or nil

-- Goes on with a page that Rust has called.
local function finish(fine)
  marks.needs_reset = 1
  if not fine then
    failure, problem[1] = problem[1], false
  end
  return complete(fine)
end

-- Runs what plua.atEnd was given, after a page that has failed or not.
local function finish_later(has_failed)
  local problem = run_at_end(has_failed)
  if not problem and not has_failed then return put_together() end
  if has_failed and problem then error(problem[1], 0) end
  failure = failure or problem
  return false
end

-- Message and frames of the page that failed last.
local function fault()
  local problem = failure
  failure, context = nil, nil
  if type(problem) == "table" then return problem[1], problem[2] end
  -- The state's own code was stopped before it could describe anything.
  return message_of(problem), {}
end

local function flush()
  if is_withheld() then return end
  local ok, sent = native.flush(output.contents())
  output.sent(not ok)
  if not ok then error(sent, 2) end
  if not sent then end_page("client gone") end
end

local function send_file(path)
  local ok, bytes
  if level() > 0 or is_withheld() then
    ok, bytes = native["file.send"](path, true)
  else
    ok, bytes = native["file.send"](path, false, output.contents())
    -- Before all other output it may be all of the response, which Rust sees at the end.
    local held = ok and type(bytes) == "number" and bytes
    output.sent(not held, held or nil)
    if held then return held end
  end
  if ok and bytes then
    put(bytes)
    return #bytes
  end
  if ok and bytes == nil then
    ok, bytes = native.stream_file(path, output.contents())
    output.sent(not ok or bytes == false, bytes)
    if ok and bytes == nil then end_page("client gone") end
  end
  if not ok then error(bytes, 2) end
  return bytes
end

local function redirect(...)
  local ok, message = native.redirect(...)
  if not ok then error(message, 2) end
  exit()
end

-- A decoder: one result when all is well, so that an echo of it shows no second.
local function decoder(name)
  local decode = native[name]
  return function(...)
    local ok, value, problem = decode(...)
    if not ok then error(value, 2) end
    if value == nil then return nil, problem end
    return value
  end
end

local function json_array(items)
  if items == nil then items = {} end
  if type(items) ~= "table" then error("bad argument #1 to 'json.array' (table expected)", 2) end
  return setmetatable(items, native.json_array)
end

local function in_any_case(headers, name)
  if type(name) ~= "string" then return nil end
  local wanted = lower(name)
  for key, value in next, headers do
    if type(key) == "string" and lower(key) == wanted then return value end
  end
end
-- A function that gives a table which is asked by names of headers.
local function by_header(name)
  local get = page_functions[1](native[name])
  return function() return setmetatable(get(), { __index = in_any_case }) end
end

local function get_request_body(...)
  local ok, body, size = native.getRequestBody(...)
  if not ok then error(body, 2) end
  if size then return body, size end
  return body
end

local MOST_IN_PIECE = 1048576
local function body_pieces(bytes)
  if bytes == nil then bytes = 65536 end
  if type(bytes) ~= "number" or bytes % 1 ~= 0 or bytes < 1 or bytes > MOST_IN_PIECE then
    error("bad argument #1 to 'plua.bodyPieces' (a whole number from 1 to " .. MOST_IN_PIECE .. " expected)", 2)
  end
  local at = 0
  return function()
    local ok, piece = native.body_piece(at, bytes)
    if not ok then error(piece, 2) end
    at = at + (piece and #piece or 0)
    return piece
  end
end

-- Uploaded files as objects; the path of each is what Rust knows it by.
local upload = {}
local OF_UPLOADS = { __index = upload, __metatable = false }
shielded[OF_UPLOADS] = true
for _, method in next, { "save", "read" } do
  local run = native["upload:" .. method]
  upload[method] = function(file, ...)
    if type(file) ~= "table" then error("call " .. method .. " with a colon: file:" .. method .. "()", 2) end
    local ok, result, message
    if method == "save" then
      ok, result, message = run((...), file.path)
    else
      ok, result, message = run(file.path)
    end
    if not ok then error(result, 2) end
    if message then return nil, message end
    return result
  end
end

local function uploads()
  local ok, files = native.uploads()
  if not ok then error(files, 2) end
  for i = 1, #files do
    setmetatable(files[i], OF_UPLOADS)
  end
  return files
end

-- What would end, or change, the whole server process ends the page, or does nothing.
os.exit = function() exit() end
local setlocale = os.setlocale
local AS_C = { C = true, POSIX = true, ["C.UTF-8"] = true, ["C.utf8"] = true }
-- Whether there is nothing to change for the locale C. All together have several names where some httpd module sets one.
local function is_as_c(category)
  if category ~= nil and category ~= "all" then return AS_C[setlocale(nil, category)] end
  for _, name in next, { "collate", "ctype", "monetary", "numeric", "time" } do
    if not AS_C[setlocale(nil, name)] then return false end
  end
  return true
end
os.setlocale = function(locale, category)
  local now = setlocale(nil, category)
  if locale == nil or locale == "" or locale == now then return now end
  if AS_C[locale] and is_as_c(category) then return "C" end
  return nil
end
if native.time_zone then native.time_zone(native) end

-- Inside a hook no other hook runs, so a page under a limit sets none. Rust sees to it that none outlives its request.
debug.sethook = function(...)
  if not native.sets_hook() then
    local first, second = ...
    if type(first) == "thread" then first = second end
    -- There is none to be taken away.
    if first == nil then return end
    error("debug.sethook is taken by the limits (pLuaTimeout and others)", 2)
  end
  marks.needs_reset = 1
  return sethook(...)
end

native.tracebacks(is_engine)

-- No hook runs inside a finalizer, so no limit stops one: pages get none.
local of_files = metatable_of(io.stdout)
of_files.__metatable = false
shielded[of_files] = true
-- In Lua 5.1 a file's fields are those of the metatable itself.
if of_files.__index == of_files then
  of_files.__index = {}
  for name, method in next, of_files do
    if not match(name, "^__") then of_files.__index[name] = method end
  end
end
if not loadstring then
  _G.setmetatable = function(...)
    local _, metatable = ...
    if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
      error("finalizers (__gc) are not allowed in pages", 2)
    end
    return setmetatable(...)
  end
end

local limit_patterns = native.patterns(native)
if setfenv and globals then
  native.environments(is_engine, globals.running, globals.chunks)
elseif setfenv and sandboxed then
  native.environments(is_engine)
end
if sandboxed and loadstring then native.line_reading(of_files.__index) end
local close_files, put_files_aside, bring_files_back = native.files(native, pcall, marks, put, of_files.__index)
local bound_waits
bound_waits, set_times_right, keeps_times = native.library_waits(native)
native.libraries(native, ignored, leave, level)
bound_waits()
watch_ffi()

-- After the libraries are left out, so that what page functions add to them is there in any case.
local plua = {}
-- Where a page function stands below a table of names: the table, and the field in it.
local function place_of(name, names)
  local library, field = match(name, "^(%w+)%.(%w+)$")
  if not library then return names, name end
  if library == "plua" then return plua, field end
  names[library] = names[library] or {}
  return names[library], field
end
local functions = native.functions
for name, results in next, functions do
  if results then
    local place, field = place_of(name, _G)
    place[field] = page_functions[results](native[name])
  end
end
_G.echo, _G.print, _G.exit, _G.flush, _G.sleep = put, put, exit, flush, light_threads.sleep
for _, functions in next, { output.ob, composition.functions } do
  for name, run in next, functions do
    _G[name] = run
  end
end
_G.redirect, file.send = redirect, send_file
json.array, json.decode, json.null = json_array, decoder("json.decode"), native.json_null
_G.getRequestBody, _G.getJson, _G.uploads = get_request_body, decoder("getJson"), uploads
plua.compile, plua.thisFile, plua.bodyPieces = composition.compile, composition.this_file, body_pieces
_G.dbopen = native.database(native, pcall, metatable_of)
plua.connect, plua.fetch = connect, fetch
plua.atEnd = at_end
plua.events = native.events(native, put, flush, light_threads)
for _, functions in next, { light_threads.functions, timers.functions } do
  for name, run in next, functions do
    plua[name] = run
  end
end
_G.getEnv, plua.requestHeaders = by_header("getEnv"), by_header("plua.requestHeaders")

-- All of them are in `plua` as well, and stay there where a host leaves out their global names.
for name in next, functions do
  local place, field = place_of(name, _G)
  local own_place, own_field = place_of(name, plua)
  own_place[own_field] = place[field]
end
plua.json.null = json.null
-- Made when a page first asks for one of them, with what that page may have replaced by then.
local originals = {
  error = error,
  ffi = ffi,
  huge = huge,
  metatable_of = metatable_of,
  next = next,
  null = native.json_null,
  pcall = pcall,
  select = select,
  set_metatable = set_metatable,
  tostring = tostring,
  type = type,
}
local stores
local function open_stores()
  stores = stores or native.late("shared")(native, originals, light_threads.wait_for_event)
  return stores
end
local cached
function plua.cache(...)
  if not cached then
    local stores = open_stores()
    cached = native.late("cached")(originals, stores.of_cache, stores.methods, light_threads.sleep, native.random_seed)
  end
  return cached(...)
end
local session
local function open_session()
  if not session then
    local stores = open_stores()
    session, forget_session, exchange_session =
      native.late("session")(native, originals, stores.native, stores.of_sessions, stores.methods, {
        marks = marks,
        sleep = light_threads.sleep,
        before_wait = light_threads.before_wait,
        at_end = at_end,
        is_equal = plua.hashEquals,
        post = plua.post,
        headers = plua.requestHeaders,
      })
  end
  return session
end
local cached_page
function plua.cachePage(...)
  if not cached_page then cached_page = native.late("cached_page")(native, originals, light_threads.sleep, exit) end
  return cached_page(...)
end
-- What the page of plua shell runs; nothing in a server.
local run_terminal
local function open_terminal(part, functions)
  run_terminal = part(functions, originals, output, call_with_handler, described, check_ending)
end
-- Whatever asks for `ctx` gets that of the running request, and for `shared` the stores of the host.
setmetatable(plua, {
  __metatable = false,
  __index = function(_, name)
    if name == "shared" then return open_stores().shared end
    if name == "session" then return open_session() end
    if name == "terminal" then return run_terminal end
    if name ~= "ctx" then return nil end
    if not context then
      if not native.folder() then error("there is no request: plua.ctx is there only while a page runs", 0) end
      context, marks.needs_reset = {}, 1
    end
    return context
  end,
  __newindex = function(_, name, value)
    if name == "shared" then error("plua.shared is the host's: stores are declared with pLuaShared", 2) end
    if name == "session" then error("plua.session is the visitor's: give it values by name", 2) end
    if name ~= "ctx" then return rawset(plua, name, value) end
    if type(value) ~= "table" then error("plua.ctx is a table, got " .. type(value), 2) end
    if not native.folder() then error("there is no request: plua.ctx is there only while a page runs", 0) end
    context, marks.needs_reset = value, 1
  end,
})
_G.plua, loaded.plua = plua, plua
for name in next, functions do
  local library = match(name, "^(%w+)%.")
  if library ~= "plua" and (ignored.page or ignored[name] or library ~= "string" and ignored[library]) then
    local place, field = place_of(name, _G)
    place[field] = nil
  end
end
for _, library in next, { "json", "file" } do
  if ignored.page or ignored[library] then _G[library] = nil end
end

-- Limits of the pages from here on: kilobytes of output, steps of a pattern; 0 is none.
local function limit_page(kilobytes, steps)
  output.limit(kilobytes * 1024)
  limit_patterns(steps)
end

-- Puts aside all that the page which waits in a coroutine has of the state, so that others may run. Whether it can be: not what is
-- one for the whole state, and then that waits with the page.
local function put_aside(number, coroutine)
  if gc_changed or is_seeded or keeps_times() then return false end
  local of_files = put_files_aside()
  if of_files == false then return false end
  local of_globals = globals.put_aside()
  if not of_globals then
    bring_files_back(of_files)
    return false
  end
  aside[number] = {
    coroutine = coroutine,
    ending = ending,
    failure = failure,
    context = context,
    page = marks.page,
    may_wait = marks.may_wait,
    composes = marks.composes,
    files = of_files,
    globals = of_globals,
    composition = composition.put_aside(),
    output = output.put_aside(),
    light_threads = light_threads.put_aside(),
    at_end = exchange_at_end(nil),
    session = exchange_session and exchange_session(nil),
  }
  ending, failure, context = nil, nil, nil
  return true
end

-- Takes the place of the page that ran last, which has ended or waits; the coroutine that goes on.
local function bring_back(number)
  local page = aside[number]
  aside[number] = nil
  ending, failure, context = page.ending, page.failure, page.context
  bring_files_back(page.files)
  globals.bring_back(page.globals)
  composition.bring_back(page.composition)
  output.bring_back(page.output)
  light_threads.bring_back(page.light_threads)
  exchange_at_end(page.at_end)
  if exchange_session then exchange_session(page.session) end
  marks.page, marks.may_wait, marks.composes, marks.needs_reset = page.page, page.may_wait, page.composes, 1
  note_folder()
  return page.coroutine
end

-- Named as in mod.rs, which takes them.
local parts = {
  run = run,
  finish = finish,
  finish_later = finish_later,
  fault = fault,
  close_files = close_files,
  tidy = output.tidy,
  limit_page = limit_page,
  pages = pages,
  texts = page_texts,
  identities = identities,
  area = output.address,
  call = call_parts,
  note_base = light_threads.note_base,
  run_timer = run_timer_number,
  open_terminal = open_terminal,
}
if globals then
  parts.run, parts.finish_later = globals.around(run, finish_later, composition, ends_later)
  parts.limit_page, parts.pages, parts.texts = globals.after(limit_page), loaded_pages, loaded_texts
  parts.area, parts.call, parts.isolate = nil, nil, globals.isolate
  parts.maker_of, parts.aside, parts.put_aside, parts.bring_back = globals.maker_of, aside, put_aside, bring_back
end
return parts
