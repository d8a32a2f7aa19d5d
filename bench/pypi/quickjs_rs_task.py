"""quickjs-rs: JavaScript by QuickJS, in C and Rust, with functions of Python's in it."""

from quickjs_rs import JSError, Runtime

with Runtime() as runtime, runtime.new_context() as context:

    @context.function
    def greet(name: str) -> str:
        return f"hi {name}"

    print(context.eval("greet('world')"))
    print(context.eval("(function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) })(18)"))
    print(context.eval("JSON.stringify([...'hello'].map((c, i) => c.charCodeAt(0) * i).sort((a, b) => b - a))"))
    try:
        context.eval("throw new TypeError('no')")
    except JSError as error:
        print(error)
