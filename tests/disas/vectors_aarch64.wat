;;! target = aarch64-unknown-linux-gnu
;;! nan_canonicalization = true
;;! wasm_relaxed_simd_deterministic = true
;; NEON by intrinsic, loads that stay visible, canonical NaNs, deterministic relaxed instructions.
(module
  (memory 1)
  (func (param i32 v128) (result v128) (i8x16.swizzle (v128.load (local.get 0)) (local.get 1)))
  (func (param v128 v128) (result v128) (f32x4.min (f32x4.sqrt (local.get 0)) (local.get 1)))
  (func (param v128 v128 v128) (result v128) (f64x2.relaxed_nmadd (local.get 0) (local.get 1) (local.get 2)))
  (func (param v128 v128) (result v128) (i16x8.narrow_i32x4_u (local.get 0) (local.get 1)))
  (func (param v128) (result i32) (i16x8.all_true (local.get 0))))

;;; IR
;; define weak dso_local <2 x i64> @f0(ptr %vmctx, i32 %p0, <2 x i64> %p1) #0 !dbg !20 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = load volatile <2 x i64>, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 55, scope: !20)
;;   %x4 = call <2 x i64> asm "", "=w,0"(<2 x i64> %x2) #2, !dbg !DILocation(line: 55, scope: !20)
;;   %x5 = bitcast <2 x i64> %x4 to <16 x i8>
;;   %x6 = bitcast <2 x i64> %p1 to <16 x i8>
;;   %x7 = call <16 x i8> @llvm.aarch64.neon.tbl1.v16i8(<16 x i8> %x5, <16 x i8> %x6)
;;   %y7 = bitcast <16 x i8> %x7 to <2 x i64>
;;   ret <2 x i64> %y7
;; }

;; define weak dso_local <2 x i64> @f1(ptr %vmctx, <2 x i64> %p0, <2 x i64> %p1) #0 !dbg !21 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <4 x float>
;;   %x2M = call <4 x float> @llvm.sqrt.v4f32(<4 x float> %x1)
;;   %x2N = call <4 x float> @llvm.arithmetic.fence.v4f32(<4 x float> %x2M)
;;   %x2Nu = fcmp uno <4 x float> %x2N, %x2N
;;   %x2Ni = bitcast <4 x float> %x2N to <4 x i32>
;;   %x2Ns = select <4 x i1> %x2Nu, <4 x i32> splat (i32 2143289344), <4 x i32> %x2Ni
;;   %x2 = bitcast <4 x i32> %x2Ns to <4 x float>
;;   %y2 = bitcast <4 x float> %x2 to <2 x i64>
;;   %x3 = bitcast <2 x i64> %p1 to <4 x float>
;;   %x4N = call <4 x float> @llvm.minimum.v4f32(<4 x float> %x2, <4 x float> %x3)
;;   %x4Nu = fcmp uno <4 x float> %x4N, %x4N
;;   %x4Ni = bitcast <4 x float> %x4N to <4 x i32>
;;   %x4Ns = select <4 x i1> %x4Nu, <4 x i32> splat (i32 2143289344), <4 x i32> %x4Ni
;;   %x4 = bitcast <4 x i32> %x4Ns to <4 x float>
;;   %y4 = bitcast <4 x float> %x4 to <2 x i64>
;;   ret <2 x i64> %y4
;; }

;; define weak dso_local <2 x i64> @f2(ptr %vmctx, <2 x i64> %p0, <2 x i64> %p1, <2 x i64> %p2) #0 !dbg !22 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <2 x double>
;;   %x2 = bitcast <2 x i64> %p1 to <2 x double>
;;   %x3 = bitcast <2 x i64> %p2 to <2 x double>
;;   %x4n = fneg <2 x double> %x1
;;   %x4N = call <2 x double> @llvm.fma.v2f64(<2 x double> %x4n, <2 x double> %x2, <2 x double> %x3)
;;   %x4Nu = fcmp uno <2 x double> %x4N, %x4N
;;   %x4Ni = bitcast <2 x double> %x4N to <2 x i64>
;;   %x4Ns = select <2 x i1> %x4Nu, <2 x i64> splat (i64 9221120237041090560), <2 x i64> %x4Ni
;;   %x4 = bitcast <2 x i64> %x4Ns to <2 x double>
;;   %y4 = bitcast <2 x double> %x4 to <2 x i64>
;;   ret <2 x i64> %y4
;; }

;; define weak dso_local <2 x i64> @f3(ptr %vmctx, <2 x i64> %p0, <2 x i64> %p1) #0 !dbg !23 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <4 x i32>
;;   %x2 = bitcast <2 x i64> %p1 to <4 x i32>
;;   %x3l = call <4 x i16> @llvm.aarch64.neon.sqxtun.v4i16(<4 x i32> %x1)
;;   %x3h = call <4 x i16> @llvm.aarch64.neon.sqxtun.v4i16(<4 x i32> %x2)
;;   %x3 = shufflevector <4 x i16> %x3l, <4 x i16> %x3h, <8 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7>
;;   %y3 = bitcast <8 x i16> %x3 to <2 x i64>
;;   ret <2 x i64> %y3
;; }

;; define weak dso_local i32 @f4(ptr %vmctx, <2 x i64> %p0) #0 !dbg !24 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <8 x i16>
;;   %x2w = call i16 @llvm.vector.reduce.umin.v8i16(<8 x i16> %x1)
;;   %x2c = icmp ne i16 %x2w, 0
;;   %x2 = zext i1 %x2c to i32
;;   ret i32 %x2
;; }
