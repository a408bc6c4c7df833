-- Lints for the engine's own Lua, which replaces functions of Lua's library on purpose: that is what it is for.
std = "luajit+lua54"
max_line_length = false
ignore = {
  "1[1224][2312]", -- globals and fields of the library that are set or changed
  "4[23]1", -- a name inside a function that is one outside too
}
files["plua/src/limits/long_calls.lua"] = { ignore = { "581" } } -- not (x < y) is not x >= y for NaN
