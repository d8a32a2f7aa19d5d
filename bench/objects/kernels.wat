;; Programs with objects of garbage collection: each takes how much of it is wanted, and returns a checksum.
(module
  (rec
    (type $node (struct (field $left (ref null $node)) (field $right (ref null $node)))))
  (rec
    (type $cell (struct (field $value i32) (field $next (mut (ref null $cell))))))
  (type $shape (sub (struct (field $kind i32))))
  (type $circle (sub $shape (struct (field i32) (field $radius i32))))
  (type $square (sub final $shape (struct (field i32) (field $side i32))))
  (type $ring (sub final $circle (struct (field i32) (field i32) (field $hole i32))))
  (type $shapes (array (mut (ref null $shape))))
  (type $ints (array (mut i32)))
  (type $longs (array (mut i64)))
  (type $doubles (array (mut f64)))
  (type $rows (array (mut (ref null $doubles))))
  (type $bytes (array (mut i8)))
  (type $words (array (mut anyref)))
  (type $point (struct (field $x (mut i64)) (field $y (mut i64)) (field $n (mut i32))))
  (rec
    (type $unary (func (param (ref $closure) i32) (result i32)))
    (type $closure (sub (struct (field $code (ref $unary))))))
  (type $adder (sub final $closure (struct (field (ref $unary)) (field $amount i32))))
  (type $entry (struct (field $key i32) (field $count (mut i32)) (field $chain (mut (ref null $entry)))))
  (type $buckets (array (mut (ref null $entry))))
  (type $record (struct (field $rank i32) (field $payload i64)))
  (type $records (array (mut (ref null $record))))
  (elem declare func $add $multiply)

  ;; ---- binary trees: made and counted ----
  (func $make (param $depth i32) (result (ref $node))
    (if (result (ref $node)) (i32.eqz (local.get $depth))
      (then (struct.new $node (ref.null $node) (ref.null $node)))
      (else
        (struct.new $node
          (call $make (i32.sub (local.get $depth) (i32.const 1)))
          (call $make (i32.sub (local.get $depth) (i32.const 1)))))))
  (func $check (param $node (ref $node)) (result i32)
    (if (result i32) (ref.is_null (struct.get $node $left (local.get $node)))
      (then (i32.const 1))
      (else
        (i32.add (i32.const 1)
          (i32.add
            (call $check (ref.as_non_null (struct.get $node $left (local.get $node))))
            (call $check (ref.as_non_null (struct.get $node $right (local.get $node)))))))))
  (func (export "trees") (param $n i32) (result i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (call $check (call $make (i32.const 10)))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  ;; ---- linked lists: pushed, reversed, summed ----
  (func (export "lists") (param $n i32) (result i32)
    (local $i i32) (local $sum i32) (local $list (ref null $cell)) (local $done (ref null $cell)) (local $next (ref null $cell))
    (loop $more
      (local.set $list (ref.null $cell))
      (local.set $done (ref.null $cell))
      (local.set $i (i32.const 1000))
      (loop $push
        (local.set $list (struct.new $cell (local.get $i) (local.get $list)))
        (br_if $push (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (loop $reverse
        (local.set $next (struct.get $cell $next (local.get $list)))
        (struct.set $cell $next (local.get $list) (local.get $done))
        (local.set $done (local.get $list))
        (local.set $list (local.get $next))
        (br_if $reverse (i32.eqz (ref.is_null (local.get $list)))))
      (loop $add
        (local.set $sum (i32.add (local.get $sum) (struct.get $cell $value (local.get $done))))
        (local.set $done (struct.get $cell $next (local.get $done)))
        (br_if $add (i32.eqz (ref.is_null (local.get $done)))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  ;; ---- tests of types, exact ones and of supertypes ----
  (func $shapes (result (ref $shapes)) (local $made (ref $shapes)) (local $i i32)
    (local.set $made (array.new_default $shapes (i32.const 1024)))
    (loop $fill
      (array.set $shapes (local.get $made) (local.get $i) (struct.new $shape (local.get $i)))
      (array.set $shapes (local.get $made) (i32.add (local.get $i) (i32.const 1))
        (struct.new $circle (local.get $i) (local.get $i)))
      (array.set $shapes (local.get $made) (i32.add (local.get $i) (i32.const 2))
        (struct.new $square (local.get $i) (local.get $i)))
      (array.set $shapes (local.get $made) (i32.add (local.get $i) (i32.const 3))
        (struct.new $ring (local.get $i) (local.get $i) (local.get $i)))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.const 1024))))
    (local.get $made))
  (func (export "tests") (param $n i32) (result i32)
    (local $all (ref $shapes)) (local $i i32) (local $sum i32) (local $one (ref null $shape))
    (local.set $all (call $shapes))
    (loop $more
      (local.set $i (i32.const 0))
      (loop $look
        (local.set $one (array.get $shapes (local.get $all) (local.get $i)))
        (local.set $sum (i32.add (local.get $sum)
          (i32.add (ref.test (ref $square) (local.get $one)) (ref.test (ref $circle) (local.get $one)))))
        (br_if $look (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1024))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func (export "casts") (param $n i32) (result i32)
    (local $all (ref $shapes)) (local $i i32) (local $sum i32)
    (local.set $all (call $shapes))
    (loop $more
      (local.set $i (i32.const 1))
      (loop $look
        (local.set $sum (i32.add (local.get $sum)
          (struct.get $circle $radius (ref.cast (ref $circle) (array.get $shapes (local.get $all) (local.get $i))))))
        (br_if $look (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 2))) (i32.const 1024))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  ;; ---- arrays ----
  (func $sum (param $of (ref $ints)) (result i32) (local $i i32) (local $sum i32)
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (local.get $i) (array.len (local.get $of))))
        (local.set $sum (i32.add (local.get $sum) (array.get $ints (local.get $of) (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $more)))
    (local.get $sum))
  (func (export "sums") (param $n i32) (result i32) (local $of (ref $ints)) (local $sum i32)
    (local.set $of (array.new $ints (i32.const 3) (i32.const 4096)))
    (loop $more
      (array.set $ints (local.get $of) (i32.const 7) (local.get $n))
      (local.set $sum (i32.add (local.get $sum) (call $sum (local.get $of))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func $scale (param $to (ref $doubles)) (param $from (ref $doubles)) (local $i i32)
    (block $done
      (loop $more
        (br_if $done (i32.ge_u (local.get $i) (array.len (local.get $from))))
        (array.set $doubles (local.get $to) (local.get $i)
          (f64.add (array.get $doubles (local.get $to) (local.get $i))
            (f64.mul (f64.const 0.5) (array.get $doubles (local.get $from) (local.get $i)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $more))))
  (func (export "doubles") (param $n i32) (result i32) (local $a (ref $doubles)) (local $b (ref $doubles))
    (local.set $a (array.new $doubles (f64.const 1) (i32.const 1024)))
    (local.set $b (array.new $doubles (f64.const 2) (i32.const 1024)))
    (loop $more
      (call $scale (local.get $a) (local.get $b))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.trunc_sat_f64_s (array.get $doubles (local.get $a) (i32.const 9))))
  (func (export "defaults") (param $n i32) (result i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum)
        (array.get $ints (array.new_default $ints (i32.const 16)) (i32.and (local.get $n) (i32.const 15)))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func (export "copies") (param $n i32) (result i32) (local $a (ref $ints)) (local $b (ref $ints))
    (local.set $a (array.new $ints (i32.const 3) (i32.const 64)))
    (local.set $b (array.new $ints (i32.const 4) (i32.const 64)))
    (loop $more
      (array.copy $ints $ints (local.get $a) (i32.const 3) (local.get $b) (i32.const 9)
        (i32.and (local.get $n) (i32.const 31)))
      (array.fill $ints (local.get $b) (i32.const 9) (local.get $n) (i32.and (local.get $n) (i32.const 15)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (array.get $ints (local.get $a) (i32.const 5)))
  (func (export "matrix") (param $n i32) (result i32)
    (local $rows (ref $rows)) (local $i i32) (local $j i32) (local $sum f64)
    (local.set $rows (array.new_default $rows (i32.const 64)))
    (loop $fill
      (array.set $rows (local.get $rows) (local.get $i) (array.new $doubles (f64.const 0.25) (i32.const 64)))
      (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
    (loop $more
      (local.set $i (i32.const 0))
      (loop $row
        (local.set $j (i32.const 0))
        (loop $column
          (local.set $sum (f64.add (local.get $sum)
            (array.get $doubles (array.get $rows (local.get $rows) (local.get $i)) (local.get $j))))
          (br_if $column (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 64))))
        (br_if $row (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.trunc_sat_f64_s (local.get $sum)))

  ;; ---- fields ----
  (func (export "fields") (param $n i32) (result i32) (local $p (ref $point))
    (local.set $p (struct.new $point (i64.const 1) (i64.const 2) (i32.const 0)))
    (loop $more
      (call $step (local.get $p))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.xor (struct.get $point $n (local.get $p)) (i32.wrap_i64 (struct.get $point $y (local.get $p)))))
  (func $step (param $p (ref $point))
    (struct.set $point $x (local.get $p)
      (i64.add (struct.get $point $x (local.get $p)) (struct.get $point $y (local.get $p))))
    (struct.set $point $y (local.get $p)
      (i64.xor (struct.get $point $x (local.get $p)) (i64.shl (struct.get $point $y (local.get $p)) (i64.const 1))))
    (struct.set $point $n (local.get $p) (i32.add (struct.get $point $n (local.get $p)) (i32.const 1))))

  ;; ---- closures ----
  (func $add (type $unary) (param $self (ref $closure)) (param $to i32) (result i32)
    (i32.add (local.get $to) (struct.get $adder $amount (ref.cast (ref $adder) (local.get $self)))))
  (func $multiply (type $unary) (param $self (ref $closure)) (param $to i32) (result i32)
    (i32.mul (local.get $to) (struct.get $adder $amount (ref.cast (ref $adder) (local.get $self)))))
  (func (export "closures") (param $n i32) (result i32)
    (local $a (ref $closure)) (local $b (ref $closure)) (local $sum i32)
    (local.set $a (struct.new $adder (ref.func $add) (i32.const 3)))
    (local.set $b (struct.new $adder (ref.func $multiply) (i32.const 5)))
    (loop $more
      (local.set $sum (call_ref $unary (local.get $a) (local.get $sum) (struct.get $closure $code (local.get $a))))
      (local.set $sum (call_ref $unary (local.get $b) (local.get $sum) (struct.get $closure $code (local.get $b))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  ;; ---- a hash map with chains ----
  (func $count (param $in (ref $buckets)) (param $key i32) (local $at i32) (local $entry (ref null $entry))
    (local.set $at (i32.and (i32.mul (local.get $key) (i32.const 0x9E3779B1)) (i32.const 255)))
    (local.set $entry (array.get $buckets (local.get $in) (local.get $at)))
    (block $missing
      (loop $next
        (br_if $missing (ref.is_null (local.get $entry)))
        (if (i32.eq (struct.get $entry $key (local.get $entry)) (local.get $key))
          (then
            (struct.set $entry $count (local.get $entry)
              (i32.add (struct.get $entry $count (local.get $entry)) (i32.const 1)))
            (return)))
        (local.set $entry (struct.get $entry $chain (local.get $entry)))
        (br $next)))
    (array.set $buckets (local.get $in) (local.get $at)
      (struct.new $entry (local.get $key) (i32.const 1) (array.get $buckets (local.get $in) (local.get $at)))))
  (func (export "maps") (param $n i32) (result i32) (local $map (ref $buckets)) (local $random i32)
    (local.set $map (array.new_default $buckets (i32.const 256)))
    (local.set $random (i32.const 12345))
    (loop $more
      (local.set $random (i32.add (i32.mul (local.get $random) (i32.const 1103515245)) (i32.const 12345)))
      (call $count (local.get $map) (i32.and (i32.shr_u (local.get $random) (i32.const 16)) (i32.const 511)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (struct.get $entry $count (array.get $buckets (local.get $map) (i32.const 0))))

  ;; ---- insertion sort of records ----
  (func (export "sorts") (param $n i32) (result i32)
    (local $all (ref $records)) (local $i i32) (local $j i32) (local $random i32) (local $one (ref null $record))
    (local $other (ref null $record)) (local $sum i32)
    (local.set $all (array.new_default $records (i32.const 64)))
    (loop $more
      (local.set $i (i32.const 0))
      (loop $fill
        (local.set $random (i32.add (i32.mul (local.get $random) (i32.const 1103515245)) (i32.const 12345)))
        (array.set $records (local.get $all) (local.get $i)
          (struct.new $record (i32.shr_u (local.get $random) (i32.const 8)) (i64.const 1)))
        (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
      (local.set $i (i32.const 1))
      (loop $outer
        (local.set $one (array.get $records (local.get $all) (local.get $i)))
        (local.set $j (local.get $i))
        (block $placed
          (loop $inner
            (br_if $placed (i32.eqz (local.get $j)))
            (local.set $other (array.get $records (local.get $all) (i32.sub (local.get $j) (i32.const 1))))
            (br_if $placed (i32.le_u (struct.get $record $rank (local.get $other)) (struct.get $record $rank (local.get $one))))
            (array.set $records (local.get $all) (local.get $j) (local.get $other))
            (local.set $j (i32.sub (local.get $j) (i32.const 1)))
            (br $inner)))
        (array.set $records (local.get $all) (local.get $j) (local.get $one))
        (br_if $outer (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 64))))
      (local.set $sum (i32.add (local.get $sum) (struct.get $record $rank (array.get $records (local.get $all) (i32.const 31)))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  ;; ---- strings: digits are put behind each other, and hashed ----
  (func (export "strings") (param $n i32) (result i32)
    (local $text (ref $bytes)) (local $length i32) (local $number i32) (local $sum i32) (local $i i32)
    (loop $more
      (local.set $text (array.new_default $bytes (i32.const 32)))
      (local.set $length (i32.const 0))
      (local.set $number (i32.mul (local.get $n) (i32.const 7919)))
      (loop $digit
        (array.set $bytes (local.get $text) (local.get $length)
          (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
        (local.set $length (i32.add (local.get $length) (i32.const 1)))
        (br_if $digit (local.tee $number (i32.div_u (local.get $number) (i32.const 10)))))
      (local.set $i (i32.const 0))
      (loop $hash
        (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (array.get_u $bytes (local.get $text) (local.get $i))))
        (br_if $hash (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $length))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))

  ;; ---- small integers among references ----
  (func (export "words") (param $n i32) (result i32) (local $all (ref $words)) (local $i i32) (local $sum i32)
    (local.set $all (array.new $words (ref.i31 (i32.const 5)) (i32.const 256)))
    (array.set $words (local.get $all) (i32.const 9) (ref.null any))
    (loop $more
      (local.set $i (i32.const 0))
      (loop $look
        (block $none
          (local.set $sum (i32.add (local.get $sum) (i31.get_s (block $small (result (ref i31))
            (drop (br_on_cast $small anyref (ref i31) (array.get $words (local.get $all) (local.get $i))))
            (br $none))))))
        (br_if $look (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 256))))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
