;; Vectors: values as <2 x i64>, operands in their lane shape, loads volatile and hidden, lanes, constants of float
;; arithmetic, numbers that enter a lane, results in registers and through the results area; dot products are hidden from
;; the addition that follows.
(module
  (memory 1)
  (global $global (mut v128) (v128.const i64x2 1 2))
  (func $three (param v128 v128) (result v128 v128 v128) local.get 0 local.get 1 global.get $global)
  (func (param i32 v128) (result v128)
    (i16x8.add (i16x8.mul (local.get 1) (v128.load offset=16 (local.get 0))) (v128.const i16x8 1 2 3 4 5 6 7 -8)))
  (func (param i32 v128)
    (v128.store (local.get 0) (v128.load32_splat offset=4 (local.get 0)))
    (v128.store16_lane 3 (local.get 0) (v128.load16_lane 7 (local.get 0) (local.get 1)))
    (v128.store (local.get 0) (v128.load64_zero (local.get 0))))
  (func (param i32) (result v128) (i32x4.replace_lane 2 (i8x16.splat (i32.const -1)) (i32.load (local.get 0))))
  (func (param v128) (result v128) (f32x4.mul (local.get 0) (f32x4.splat (f32.const 1))))
  (func (param v128 i32) (result i32)
    (i8x16.bitmask (i8x16.shl (i8x16.swizzle (local.get 0) (local.get 0)) (local.get 1))))
  (func (param v128 v128) (result i32)
    (v128.any_true (f64x2.lt (f64x2.min (local.get 0) (local.get 1)) (local.get 1))))
  (func (param v128 i32) (local v128)
    (if (local.get 1) (then (local.set 2 (i8x16.shuffle 0 1 2 3 4 5 6 7 24 25 26 27 28 29 30 31
      (local.get 0) (local.get 2)))))
    (call $three (local.get 2) (local.get 0))
    drop drop (global.set $global))
  (func (param v128 v128 v128) (result v128)
    (i32x4.add (local.get 2) (i32x4.dot_i16x8_s (local.get 0) (local.get 1)))))

;;; IR
;; define weak dso_local { <2 x i64>, <2 x i64> } @f0(ptr %vmctx, ptr %results, <2 x i64> %p0, <2 x i64> %p1) #0 !dbg !20 {
;; entry:
;;   %g0 = getelementptr i8, ptr %vmctx, i64 64
;;   br label %start
;; start:
;;   %x1 = load <2 x i64>, ptr %g0, align 8, !tbaa !2
;;   %x2 = getelementptr i8, ptr %results, i64 0
;;   store <2 x i64> %x1, ptr %x2, align 8, !tbaa !2
;;   %x3a = insertvalue { <2 x i64>, <2 x i64> } poison, <2 x i64> %p0, 0
;;   %x3 = insertvalue { <2 x i64>, <2 x i64> } %x3a, <2 x i64> %p1, 1
;;   ret { <2 x i64>, <2 x i64> } %x3
;; }

;; define weak dso_local <2 x i64> @f1(ptr %vmctx, i32 %p0, <2 x i64> %p1) #0 !dbg !21 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1b = getelementptr i8, ptr %base0, i64 %a1z
;;   %a1 = getelementptr i8, ptr %a1b, i64 16
;;   %x2 = load volatile <2 x i64>, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 124, scope: !21)
;;   %x4 = call <2 x i64> asm "", "=x,0"(<2 x i64> %x2) #2, !dbg !DILocation(line: 124, scope: !21)
;;   %x5 = bitcast <2 x i64> %p1 to <8 x i16>
;;   %x6 = bitcast <2 x i64> %x4 to <8 x i16>
;;   %x7 = mul <8 x i16> %x5, %x6
;;   %y7 = bitcast <8 x i16> %x7 to <2 x i64>
;;   %x8 = add <8 x i16> %x7, <i16 1, i16 2, i16 3, i16 4, i16 5, i16 6, i16 7, i16 65528>
;;   %y8 = bitcast <8 x i16> %x8 to <2 x i64>
;;   ret <2 x i64> %y8
;; }

;; define weak dso_local void @f2(ptr %vmctx, i32 %p0, <2 x i64> %p1) #0 !dbg !22 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1b = getelementptr i8, ptr %base0, i64 %a1z
;;   %a1 = getelementptr i8, ptr %a1b, i64 4
;;   %x2 = load volatile float, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 159, scope: !22)
;;   %x3i = insertelement <4 x float> poison, float %x2, i64 0, !dbg !DILocation(line: 159, scope: !22)
;;   %x3 = shufflevector <4 x float> %x3i, <4 x float> poison, <4 x i32> zeroinitializer, !dbg !DILocation(line: 159, scope: !22)
;;   %x4 = call <4 x float> asm "", "=x,0"(<4 x float> %x3) #2, !dbg !DILocation(line: 159, scope: !22)
;;   %x5 = bitcast <4 x float> %x4 to <2 x i64>
;;   %a6z = zext i32 %p0 to i64
;;   %a6 = getelementptr i8, ptr %base0, i64 %a6z
;;   store <2 x i64> %x5, ptr %a6, align 1, !tbaa !1, !dbg !DILocation(line: 163, scope: !22)
;;   %a7z = zext i32 %p0 to i64
;;   %a7 = getelementptr i8, ptr %base0, i64 %a7z
;;   %x8 = load volatile i16, ptr %a7, align 1, !tbaa !1, !dbg !DILocation(line: 173, scope: !22)
;;   %x9 = bitcast <2 x i64> %p1 to <8 x i16>
;;   %x10 = insertelement <8 x i16> %x9, i16 %x8, i64 7, !dbg !DILocation(line: 173, scope: !22)
;;   %x11 = call <8 x i16> asm "", "=x,0"(<8 x i16> %x10) #2, !dbg !DILocation(line: 173, scope: !22)
;;   %x12 = bitcast <8 x i16> %x11 to <2 x i64>
;;   %a13z = zext i32 %p0 to i64
;;   %a13 = getelementptr i8, ptr %base0, i64 %a13z
;;   %x14 = extractelement <8 x i16> %x11, i64 3
;;   store i16 %x14, ptr %a13, align 1, !tbaa !1, !dbg !DILocation(line: 178, scope: !22)
;;   %a15z = zext i32 %p0 to i64
;;   %a15 = getelementptr i8, ptr %base0, i64 %a15z
;;   %x16 = load i64, ptr %a15, align 1, !tbaa !1, !dbg !DILocation(line: 187, scope: !22)
;;   %x17 = insertelement <2 x i64> zeroinitializer, i64 %x16, i64 0, !dbg !DILocation(line: 187, scope: !22)
;;   call void asm sideeffect "", "x"(<2 x i64> %x17)
;;   %a18z = zext i32 %p0 to i64
;;   %a18 = getelementptr i8, ptr %base0, i64 %a18z
;;   store <2 x i64> %x17, ptr %a18, align 1, !tbaa !1, !dbg !DILocation(line: 191, scope: !22)
;;   ret void
;; }

;; define weak dso_local <2 x i64> @f3(ptr %vmctx, i32 %p0) #0 !dbg !23 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = load i32, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 204, scope: !23)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   call void asm sideeffect "", "r"(i32 %x2)
;;   %x3 = insertelement <4 x i32> <i32 4294967295, i32 4294967295, i32 4294967295, i32 4294967295>, i32 %x2, i64 2
;;   %y3 = bitcast <4 x i32> %x3 to <2 x i64>
;;   ret <2 x i64> %y3
;; }

;; define weak dso_local <2 x i64> @f4(ptr %vmctx, <2 x i64> %p0) #0 !dbg !24 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <4 x float>
;;   %x2 = bitcast <2 x i64> <i64 4575657222473777152, i64 4575657222473777152> to <4 x float>
;;   %x3 = call <4 x float> asm "", "=x,0"(<4 x float> %x2) #2
;;   %x4 = fmul <4 x float> %x1, %x3
;;   %y4 = bitcast <4 x float> %x4 to <2 x i64>
;;   ret <2 x i64> %y4
;; }

;; define weak dso_local i32 @f5(ptr %vmctx, <2 x i64> %p0, i32 %p1) #0 !dbg !25 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <16 x i8>
;;   %x2 = bitcast <2 x i64> %p0 to <16 x i8>
;;   %x3i = call <16 x i8> @llvm.uadd.sat.v16i8(<16 x i8> %x2, <16 x i8> splat (i8 112))
;;   %x3 = call <16 x i8> @llvm.x86.ssse3.pshuf.b.128(<16 x i8> %x1, <16 x i8> %x3i)
;;   %y3 = bitcast <16 x i8> %x3 to <2 x i64>
;;   %x4t = trunc i32 %p1 to i8
;;   %x4m = and i8 %x4t, 7
;;   %x4i = insertelement <16 x i8> poison, i8 %x4m, i64 0
;;   %x4v = shufflevector <16 x i8> %x4i, <16 x i8> poison, <16 x i32> zeroinitializer
;;   %x4 = shl <16 x i8> %x3, %x4v
;;   %y4 = bitcast <16 x i8> %x4 to <2 x i64>
;;   %x5n = icmp slt <16 x i8> %x4, zeroinitializer
;;   %x5b = bitcast <16 x i1> %x5n to i16
;;   %x5 = zext i16 %x5b to i32
;;   ret i32 %x5
;; }

;; define weak dso_local i32 @f6(ptr %vmctx, <2 x i64> %p0, <2 x i64> %p1) #0 !dbg !26 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <2 x double>
;;   %x2 = bitcast <2 x i64> %p1 to <2 x double>
;;   %x3u = call <2 x double> @llvm.x86.sse2.min.pd(<2 x double> %x1, <2 x double> %x2)
;;   %x3v = call <2 x double> @llvm.x86.sse2.min.pd(<2 x double> %x2, <2 x double> %x1)
;;   %x3x = bitcast <2 x double> %x3u to <2 x i64>
;;   %x3y = bitcast <2 x double> %x3v to <2 x i64>
;;   %x3z = or <2 x i64> %x3x, %x3y
;;   %x3n = fcmp uno <2 x double> %x1, %x2
;;   %x3k = select <2 x i1> %x3n, <2 x i64> splat (i64 9221120237041090560), <2 x i64> %x3z
;;   %x3 = bitcast <2 x i64> %x3k to <2 x double>
;;   %y3 = bitcast <2 x double> %x3 to <2 x i64>
;;   %x4 = bitcast <2 x i64> %p1 to <2 x double>
;;   %x5c = fcmp olt <2 x double> %x3, %x4
;;   %x5 = sext <2 x i1> %x5c to <2 x i64>
;;   %x6 = bitcast <2 x i64> %x5 to <4 x i32>
;;   %x7w = bitcast <4 x i32> %x6 to i128
;;   %x7c = icmp ne i128 %x7w, 0
;;   %x7 = zext i1 %x7c to i32
;;   ret i32 %x7
;; }

;; define weak dso_local void @f7(ptr %vmctx, <2 x i64> %p0, i32 %p1) #0 !dbg !27 {
;; entry:
;;   %area = alloca [16 x i8], align 16
;;   %l2 = alloca <2 x i64>
;;   store <2 x i64> zeroinitializer, ptr %l2
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %stack.p = getelementptr i8, ptr %store, i64 0
;;   %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2
;;   %stack.a = call ptr @llvm.frameaddress.p0(i32 0)
;;   %stack.f = ptrtoint ptr %stack.a to i64
;;   %stack.o = icmp ult i64 %stack.f, %stack.l
;;   br i1 %stack.o, label %t8, label %body, !prof !3
;; body:
;;   %g0 = getelementptr i8, ptr %vmctx, i64 64
;;   br label %start
;; start:
;;   %x1 = icmp ne i32 %p1, 0
;;   br i1 %x1, label %h2, label %e2
;; h2:
;;   %x3 = bitcast <2 x i64> %p0 to <16 x i8>
;;   %x4 = shufflevector <16 x i8> %x3, <16 x i8> zeroinitializer, <16 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 24, i32 25, i32 26, i32 27, i32 28, i32 29, i32 30, i32 31>
;;   %y4 = bitcast <16 x i8> %x4 to <2 x i64>
;;   store <2 x i64> %y4, ptr %l2
;;   br label %b2
;; e2:
;;   br label %b2
;; b2:
;;   %x5 = load <2 x i64>, ptr %l2
;;   %x6 = call { <2 x i64>, <2 x i64> } @f0(ptr %vmctx, ptr %area, <2 x i64> %x5, <2 x i64> %p0), !dbg !DILocation(line: 294, scope: !27)
;;   %x6a = extractvalue { <2 x i64>, <2 x i64> } %x6, 0
;;   %x6b = extractvalue { <2 x i64>, <2 x i64> } %x6, 1
;;   %x7p = getelementptr i8, ptr %area, i64 0
;;   %x7 = load <2 x i64>, ptr %x7p, align 8, !tbaa !2
;;   store <2 x i64> %x6a, ptr %g0, align 8, !tbaa !2
;;   ret void
;; t8:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 258, scope: !27)
;;   call void @llvm.ubsantrap(i8 0) #1, !dbg !DILocation(line: 258, scope: !27)
;;   unreachable
;; }

;; define weak dso_local <2 x i64> @f8(ptr %vmctx, <2 x i64> %p0, <2 x i64> %p1, <2 x i64> %p2) #0 !dbg !28 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = bitcast <2 x i64> %p0 to <8 x i16>
;;   %x2 = bitcast <2 x i64> %p1 to <8 x i16>
;;   %x3H = call <4 x i32> @llvm.x86.sse2.pmadd.wd(<8 x i16> %x1, <8 x i16> %x2)
;;   %x3 = call <4 x i32> asm "", "=x,0"(<4 x i32> %x3H) #2
;;   %y3 = bitcast <4 x i32> %x3 to <2 x i64>
;;   %x4 = bitcast <2 x i64> %p2 to <4 x i32>
;;   %x5 = add <4 x i32> %x4, %x3
;;   %y5 = bitcast <4 x i32> %x5 to <2 x i64>
;;   ret <2 x i64> %y5
;; }
