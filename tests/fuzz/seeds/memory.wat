;; Loads and stores of every width with offsets and alignments.
(module $named
  (memory 1)
  (data (i32.const 65528) "\01\02\03\04\05\06\07\08")
  (func $copy (export "copy") (param $from i32) (param $to i32)
    (i32.store8 offset=3 (local.get $to) (i32.load8_u (local.get $from)))
    (i32.store16 offset=300 align=1 (local.get $to) (i32.load16_s offset=128 (local.get $from)))
    (i32.store offset=4294967295 (local.get $to) (i32.load align=2 (local.get $from)))
    (i64.store (local.get $to) (i64.load offset=65536 (local.get $from)))
    (i64.store32 (local.get $to) (i64.load32_u (local.get $from)))
    (i64.store16 (local.get $to) (i64.load8_s (local.get $from)))
    (i64.store8 (local.get $to) (i64.load16_u (local.get $from)))
    (f32.store (local.get $to) (f32.load align=1 (local.get $from)))
    (f64.store align=4 (local.get $to) (f64.load (local.get $from)))))
