;;! wasm_relaxed_simd_deterministic = true
;;! cpu = x86-64-v2
;; Without an instruction for it, relaxed multiply-add calls the runtime.
(module
  (func (param v128 v128 v128) (result v128) (f64x2.relaxed_nmadd (local.get 0) (local.get 1) (local.get 2)))
  (func (param v128 v128 v128) (result v128) (i8x16.relaxed_laneselect (local.get 0) (local.get 1) (local.get 2))))

;;; IR
;; define weak dso_local <2 x i64> @f0(ptr %vmctx, <2 x i64> %p0, <2 x i64> %p1, <2 x i64> %p2) #0 !dbg !20 {
;; entry:
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin12.p = getelementptr ptr, ptr %builtins, i64 12
;;   %builtin12 = load ptr, ptr %builtin12.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <2 x double>
;;   %x2 = bitcast <2 x i64> %p1 to <2 x double>
;;   %x3 = bitcast <2 x i64> %p2 to <2 x double>
;;   %x4n = fneg <2 x double> %x1
;;   %x4a = bitcast <2 x double> %x4n to <2 x i64>
;;   %x4b = bitcast <2 x double> %x2 to <2 x i64>
;;   %x4c = bitcast <2 x double> %x3 to <2 x i64>
;;   %x4a0 = extractelement <2 x i64> %x4a, i64 0
;;   %x4b0 = extractelement <2 x i64> %x4b, i64 0
;;   %x4c0 = extractelement <2 x i64> %x4c, i64 0
;;   %x4t0 = call i64 %builtin12(ptr %vmctx, i64 %x4a0, i64 %x4b0, i64 %x4c0)
;;   %x4s0 = insertelement <2 x i64> poison, i64 %x4t0, i64 0
;;   %x4a1 = extractelement <2 x i64> %x4a, i64 1
;;   %x4b1 = extractelement <2 x i64> %x4b, i64 1
;;   %x4c1 = extractelement <2 x i64> %x4c, i64 1
;;   %x4t1 = call i64 %builtin12(ptr %vmctx, i64 %x4a1, i64 %x4b1, i64 %x4c1)
;;   %x4s1 = insertelement <2 x i64> %x4s0, i64 %x4t1, i64 1
;;   %x4 = bitcast <2 x i64> %x4s1 to <2 x i64>
;;   ret <2 x i64> %x4
;; }

;; define weak dso_local <2 x i64> @f1(ptr %vmctx, <2 x i64> %p0, <2 x i64> %p1, <2 x i64> %p2) #0 !dbg !21 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <16 x i8>
;;   %x2 = bitcast <2 x i64> %p1 to <16 x i8>
;;   %x3 = bitcast <2 x i64> %p2 to <16 x i8>
;;   %x4x = and <16 x i8> %x1, %x3
;;   %x4n = xor <16 x i8> %x3, splat (i8 -1)
;;   %x4y = and <16 x i8> %x2, %x4n
;;   %x4 = or <16 x i8> %x4x, %x4y
;;   %y4 = bitcast <16 x i8> %x4 to <2 x i64>
;;   ret <2 x i64> %y4
;; }
