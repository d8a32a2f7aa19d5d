;;! wasm_wide_arithmetic = true
;; Wide arithmetic is i128 to LLVM, which makes it add and adc, sub and sbb, one mul.
(module
  (func (param i64 i64 i64 i64) (result i64 i64)
    (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
  (func (param i64 i64) (result i64 i64) (i64.mul_wide_s (local.get 0) (local.get 1))))

;;; IR
;; define weak dso_local { i64, i64 } @f0(ptr %vmctx, i64 %p0, i64 %p1, i64 %p2, i64 %p3) #0 !dbg !20 {
;; entry:
;;   br label %start
;; start:
;;   %x1al = zext i64 %p0 to i128
;;   %x1ah = zext i64 %p1 to i128
;;   %x1as = shl nuw i128 %x1ah, 64
;;   %x1a = or disjoint i128 %x1as, %x1al
;;   %x1bl = zext i64 %p2 to i128
;;   %x1bh = zext i64 %p3 to i128
;;   %x1bs = shl nuw i128 %x1bh, 64
;;   %x1b = or disjoint i128 %x1bs, %x1bl
;;   %x1r = add i128 %x1a, %x1b
;;   %x1lo = trunc i128 %x1r to i64
;;   %x1s = lshr i128 %x1r, 64
;;   %x1hi = trunc i128 %x1s to i64
;;   %x2a = insertvalue { i64, i64 } poison, i64 %x1lo, 0
;;   %x2 = insertvalue { i64, i64 } %x2a, i64 %x1hi, 1
;;   ret { i64, i64 } %x2
;; }

;; define weak dso_local { i64, i64 } @f1(ptr %vmctx, i64 %p0, i64 %p1) #0 !dbg !21 {
;; entry:
;;   br label %start
;; start:
;;   %x1a = sext i64 %p0 to i128
;;   %x1b = sext i64 %p1 to i128
;;   %x1r = mul i128 %x1a, %x1b
;;   %x1lo = trunc i128 %x1r to i64
;;   %x1s = lshr i128 %x1r, 64
;;   %x1hi = trunc i128 %x1s to i64
;;   %x2a = insertvalue { i64, i64 } poison, i64 %x1lo, 0
;;   %x2 = insertvalue { i64, i64 } %x2a, i64 %x1hi, 1
;;   ret { i64, i64 } %x2
;; }
