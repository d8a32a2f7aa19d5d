"""CRuby 3.2: blocks, structs, big numbers, string formats, exceptions (setjmp by unwinding)."""

from __future__ import annotations

import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import RUNNO

SCRIPT = """
Town = Struct.new(:name, :people)
towns = (1..3000).map { |i| Town.new("town #{i}", i * 7919 % 10007) }
puts towns.sort_by { |t| [-t.people, t.name] }.first(3).map(&:name).join(", ")
puts (1..120).inject(:*).to_s.size, 2**200 % 1_000_003
puts towns.group_by { |t| t.people % 5 }.transform_values(&:size).sort.inspect
begin
  Integer("nonsense")
rescue ArgumentError => error
  puts "#{error.class}: #{error.message}"
ensure
  puts format("%08.3f|%-6s|%x", 3.14159, "ab", 255)
end
puts "the cat sat".gsub(/(?<first>\\w)(\\w+)/) { $~[0].capitalize }
fib = Hash.new { |h, n| h[n] = n < 2 ? n : h[n - 1] + h[n - 2] }
puts fib[90]
e = Enumerator.new { |y| a, b = 0, 1; loop { y << a; a, b = b, a + b } }
puts e.lazy.select(&:even?).first(5).inspect
File.write("/out.txt", towns.map(&:name).join("\\n"))
puts File.size("/out.txt"), Dir.children("/").sort.inspect
"""


def check(result: Result) -> None:
    assert result.exit_code == 0, result.stderr
    text = result.stdout.decode()
    assert "\n199\n" in text and "ArgumentError: invalid value for Integer()" in text and "0003.142|ab    |ff" in text
    assert "The Cat Sat\n2880067194370816120\n[0, 2, 8, 34, 144]" in text
    assert result.files["out.txt"].startswith(b"town 1\ntown 2\n")


PROGRAM = Program(
    "ruby",
    "CRuby 3.2",
    RUNNO,
    "package/dist/langs/ruby-3.2.0.wasm",
    ("--disable-gems", "/script.rb"),
    check,
    {"script.rb": SCRIPT},
    max_wasm_stack_bytes=7_000_000,
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
