-- Functions that run when the page has ended, whatever ended it (plua.atEnd).
--
-- The chunk takes the functions written in Rust, the marks of buffer.lua, the output and what it needs of the state's own code:
-- `change_ending` sets why the running page must end, and gives why it had to. It returns the page function, whether the
-- request has any such functions, whether what is put out now is never sent, what runs them, and what exchanges them for those of
-- another page.
local native, marks, output, call_with_handler, described, report, change_ending = ...

local error, type = error, type
local level, unwind = output.level, output.unwind

-- In the order given; none for most requests.
local functions
local is_withheld = false

local function at_end(run)
  if type(run) ~= "function" then
    error("bad argument #1 to 'plua.atEnd' (function expected, got " .. (run == nil and "no value" or type(run)) .. ")", 2)
  end
  local ok, message = native.ends_later()
  if not ok then error(message, 2) end
  marks.needs_reset = 1
  functions = functions or {}
  functions[#functions + 1] = run
end

-- Runs them. Nothing is sent any more where the page has failed, but a function may put something out all the same. An error in
-- one is reported in its place and the others run, unless it is one that ends a page, which this gives back. exit() ends the
-- function that calls it.
local function run_all(has_failed)
  local why = change_ending(nil)
  is_withheld = has_failed
  if has_failed then
    output.reset()
  else
    output.leave_captures()
  end
  local position = 0
  while functions[position + 1] do
    position = position + 1
    local open = level()
    local fine, problem = call_with_handler(functions[position], described)
    if not fine then
      unwind(open)
      if not change_ending(nil) then
        -- A limit; where the allocator raises it, nothing has described it.
        if type(problem) ~= "table" then error(problem, 0) end
        if report(problem[1], problem[2]) then
          -- What is left of them is none of the next page's.
          functions, is_withheld = nil, false
          return problem
        end
      end
    end
  end
  change_ending(why)
  functions, is_withheld = nil, false
end

return at_end,
  function() return functions ~= nil end,
  function() return is_withheld end,
  run_all,
  -- Exchanges the functions for those of another page, and gives them.
  function(of_other)
    local before = functions
    functions = of_other
    return before
  end
