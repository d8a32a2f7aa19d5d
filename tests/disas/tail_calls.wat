;; Tail calls: register prototypes, a jump within the unit, by func-ref, through a table; two entries and adapters where
;; arguments do not fit in registers.
(module
  (type $t (func (param f32 i32) (result i64)))
  (type $many (func (param i32 i32 i32 i32 i32 i32 f64) (result i64)))
  (import "m" "f" (func $import (param i64) (result i64)))
  (table 2 2 funcref)
  (func $self (param i32 f64 funcref) (result i64)
    (return_call $self (i32.const 5) (local.get 1) (local.get 2)))
  (func $import_call (param i64) (result i64) (return_call $import (local.get 0)))
  (func $table (param i64) (result i64) (return_call_indirect (type $t) (f32.const 1) (i32.const 2) (i32.const 0)))
  (func $plain (param i64) (result i64) (local.get 0))
  (func $to_plain (result i64) (return_call $plain (i64.const 1)))
  (func $area (param f32) (result i64 i32 i32) (return_call $area (f32.const 2)))
  (func $much (type $many) (return_call $self (local.get 5) (local.get 6) (ref.null func)))
  (func $much_plain (type $many) (i64.const 2))
  (func $to_much (result i64)
    (return_call $much (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i32.const 5) (f64.const 6)))
  (func $to_much_plain (result i64)
    (return_call $much_plain
      (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i32.const 5) (f64.const 6)))
  (func $table_many (result i64)
    (return_call_indirect (type $many)
      (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i32.const 5) (f64.const 6) (i32.const 1))))

;;; IR
;; define weak dso_local i64 @t1(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !20 {
;; entry:
;;   %p0 = trunc i64 %int0 to i32
;;   %p1d = bitcast <4 x float> %vec0 to <2 x double>
;;   %p1 = extractelement <2 x double> %p1d, i64 0
;;   %p2 = inttoptr i64 %int1 to ptr
;;   br label %start
;; start:
;;   %x1.0 = zext i32 5 to i64
;;   %x1.1d = insertelement <2 x double> poison, double %p1, i64 0
;;   %x1.1 = bitcast <2 x double> %x1.1d to <4 x float>
;;   %x1.2 = ptrtoint ptr %p2 to i64
;;   %x1 = musttail call i64 @t1(ptr %vmctx, i64 %x1.0, i64 %x1.2, i64 poison, i64 poison, i64 poison, <4 x float> %x1.1, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 93, scope: !20)
;;   ret i64 %x1
;; }

;; define weak dso_local i64 @t2(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !21 {
;; entry:
;;   %p0 = or i64 %int0, 0
;;   %ref0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %ref0 = load ptr, ptr %ref0.p, align 8, !invariant.load !0
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %caller = getelementptr i8, ptr %store, i64 8
;;   br label %start
;; start:
;;   store ptr %vmctx, ptr %caller, align 8, !tbaa !2
;;   %x1 = load ptr, ptr %ref0, align 8, !tbaa !2
;;   %x1p = getelementptr i8, ptr %ref0, i64 8
;;   %x1c = load ptr, ptr %x1p, align 8, !tbaa !2
;;   %x2 = musttail call i64 %x1(ptr %x1c, i64 %p0, i64 poison, i64 poison, i64 poison, i64 poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 100, scope: !21)
;;   ret i64 %x2
;; }

;; define weak dso_local i64 @t3(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !22 {
;; entry:
;;   %p0 = or i64 %int0, 0
;;   %elements0.p = getelementptr i8, ptr %vmctx, i64 64
;;   %elements0 = load ptr, ptr %elements0.p, align 8, !invariant.load !0
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type0.p = getelementptr i32, ptr %types, i64 0
;;   %type0 = load i32, ptr %type0.p, align 4, !invariant.load !0
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %caller = getelementptr i8, ptr %store, i64 8
;;   br label %start
;; start:
;;   %x1o = icmp uge i32 0, 2
;;   %x1h = call i32 asm "", "=r,0"(i32 0) #2
;;   %x1m = and i32 %x1h, 1
;;   br i1 %x1o, label %t3, label %k2, !prof !3
;; k2:
;;   %x1z = zext i32 %x1m to i64
;;   %x1 = getelementptr ptr, ptr %elements0, i64 %x1z
;;   %x4 = load ptr, ptr %x1, align 8, !tbaa !2
;;   %x5p = getelementptr i8, ptr %x4, i64 16
;;   %x5 = load i32, ptr %x5p, align 4, !tbaa !2, !dbg !DILocation(line: 114, scope: !22)
;;   %x5m = icmp ne i32 %x5, %type0, !dbg !DILocation(line: 114, scope: !22)
;;   br i1 %x5m, label %t7, label %k6, !prof !3
;; k6:
;;   store ptr %vmctx, ptr %caller, align 8, !tbaa !2
;;   %x8 = load ptr, ptr %x4, align 8, !tbaa !2
;;   %x8p = getelementptr i8, ptr %x4, i64 8
;;   %x8c = load ptr, ptr %x8p, align 8, !tbaa !2
;;   %x9.0 = insertelement <4 x float> poison, float 0x3FF0000000000000, i64 0
;;   %x9.1 = zext i32 2 to i64
;;   %x9 = musttail call i64 %x8(ptr %x8c, i64 %x9.1, i64 poison, i64 poison, i64 poison, i64 poison, <4 x float> %x9.0, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 114, scope: !22)
;;   ret i64 %x9
;; t3:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 114, scope: !22)
;;   call void @llvm.ubsantrap(i8 3) #1, !dbg !DILocation(line: 114, scope: !22)
;;   unreachable
;; t7:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 114, scope: !22)
;;   call void @llvm.ubsantrap(i8 5) #1, !dbg !DILocation(line: 114, scope: !22)
;;   unreachable
;; }

;; define weak dso_local i64 @f4(ptr %vmctx, i64 %p0) #0 !dbg !23 {
;; entry:
;;   br label %start
;; start:
;;   ret i64 %p0
;; }

;; define weak dso_local i64 @t5(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !24 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = musttail call i64 @t4(ptr %vmctx, i64 1, i64 poison, i64 poison, i64 poison, i64 poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 127, scope: !24)
;;   ret i64 %x1
;; }

;; define weak dso_local { i64, i32 } @t6(ptr %vmctx, ptr %results, i64 %int0, i64 %int1, i64 %int2, i64 %int3, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !25 {
;; entry:
;;   %p0 = extractelement <4 x float> %vec0, i64 0
;;   br label %start
;; start:
;;   %x1.0 = insertelement <4 x float> poison, float 0x4000000000000000, i64 0
;;   %x1 = musttail call { i64, i32 } @t6(ptr %vmctx, ptr %results, i64 poison, i64 poison, i64 poison, i64 poison, <4 x float> %x1.0, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 137, scope: !25)
;;   ret { i64, i32 } %x1
;; }

;; define weak dso_local i64 @t7(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !26 {
;; entry:
;;   %entry.store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %entry.store = load ptr, ptr %entry.store.p, align 8, !invariant.load !0
;;   %entry.arguments.p = getelementptr i8, ptr %entry.store, i64 40
;;   %entry.arguments = load ptr, ptr %entry.arguments.p, align 8, !invariant.load !0
;;   %p0 = trunc i64 %int0 to i32
;;   %p1 = trunc i64 %int1 to i32
;;   %p2 = trunc i64 %int2 to i32
;;   %p3 = trunc i64 %int3 to i32
;;   %p4 = trunc i64 %int4 to i32
;;   %p5.p = getelementptr i8, ptr %entry.arguments, i64 16
;;   %p5 = load i32, ptr %p5.p, align 8, !tbaa !2
;;   %p6d = bitcast <4 x float> %vec0 to <2 x double>
;;   %p6 = extractelement <2 x double> %p6d, i64 0
;;   br label %start
;; start:
;;   %x1.0 = zext i32 %p5 to i64
;;   %x1.1d = insertelement <2 x double> poison, double %p6, i64 0
;;   %x1.1 = bitcast <2 x double> %x1.1d to <4 x float>
;;   %x1.2 = ptrtoint ptr null to i64
;;   %x1 = musttail call i64 @t1(ptr %vmctx, i64 %x1.0, i64 %x1.2, i64 poison, i64 poison, i64 poison, <4 x float> %x1.1, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 148, scope: !26)
;;   ret i64 %x1
;; }

;; define weak dso_local i64 @f8(ptr %vmctx, i32 %p0, i32 %p1, i32 %p2, i32 %p3, i32 %p4, i32 %p5, double %p6) #0 !dbg !27 {
;; entry:
;;   br label %start
;; start:
;;   ret i64 2
;; }

;; define weak dso_local i64 @t9(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !28 {
;; entry:
;;   %tail.store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %tail.store = load ptr, ptr %tail.store.p, align 8, !invariant.load !0
;;   %tail.arguments.p = getelementptr i8, ptr %tail.store, i64 40
;;   %tail.arguments = load ptr, ptr %tail.arguments.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1.0 = zext i32 0 to i64
;;   %x1.1 = zext i32 1 to i64
;;   %x1.2 = zext i32 2 to i64
;;   %x1.3 = zext i32 3 to i64
;;   %x1.4 = zext i32 4 to i64
;;   %x1.5 = getelementptr i8, ptr %tail.arguments, i64 16
;;   store i32 5, ptr %x1.5, align 8, !tbaa !2
;;   %x1.6d = insertelement <2 x double> poison, double 0x4018000000000000, i64 0
;;   %x1.6 = bitcast <2 x double> %x1.6d to <4 x float>
;;   %x1 = musttail call i64 @t7(ptr %vmctx, i64 %x1.0, i64 %x1.1, i64 %x1.2, i64 %x1.3, i64 %x1.4, <4 x float> %x1.6, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 179, scope: !28)
;;   ret i64 %x1
;; }

;; define weak dso_local i64 @t10(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !29 {
;; entry:
;;   %tail.store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %tail.store = load ptr, ptr %tail.store.p, align 8, !invariant.load !0
;;   %tail.arguments.p = getelementptr i8, ptr %tail.store, i64 40
;;   %tail.arguments = load ptr, ptr %tail.arguments.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1.0 = zext i32 0 to i64
;;   %x1.1 = zext i32 1 to i64
;;   %x1.2 = zext i32 2 to i64
;;   %x1.3 = zext i32 3 to i64
;;   %x1.4 = zext i32 4 to i64
;;   %x1.5 = getelementptr i8, ptr %tail.arguments, i64 16
;;   store i32 5, ptr %x1.5, align 8, !tbaa !2
;;   %x1.6d = insertelement <2 x double> poison, double 0x4018000000000000, i64 0
;;   %x1.6 = bitcast <2 x double> %x1.6d to <4 x float>
;;   %x1 = musttail call i64 @t8(ptr %vmctx, i64 %x1.0, i64 %x1.1, i64 %x1.2, i64 %x1.3, i64 %x1.4, <4 x float> %x1.6, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 205, scope: !29)
;;   ret i64 %x1
;; }

;; define weak dso_local i64 @t11(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 !dbg !30 {
;; entry:
;;   %elements0.p = getelementptr i8, ptr %vmctx, i64 64
;;   %elements0 = load ptr, ptr %elements0.p, align 8, !invariant.load !0
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type1.p = getelementptr i32, ptr %types, i64 1
;;   %type1 = load i32, ptr %type1.p, align 4, !invariant.load !0
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %caller = getelementptr i8, ptr %store, i64 8
;;   %tail.store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %tail.store = load ptr, ptr %tail.store.p, align 8, !invariant.load !0
;;   %tail.arguments.p = getelementptr i8, ptr %tail.store, i64 40
;;   %tail.arguments = load ptr, ptr %tail.arguments.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1o = icmp uge i32 1, 2
;;   %x1h = call i32 asm "", "=r,0"(i32 1) #2
;;   %x1m = and i32 %x1h, 1
;;   br i1 %x1o, label %t3, label %k2, !prof !3
;; k2:
;;   %x1z = zext i32 %x1m to i64
;;   %x1 = getelementptr ptr, ptr %elements0, i64 %x1z
;;   %x4 = load ptr, ptr %x1, align 8, !tbaa !2
;;   %x5p = getelementptr i8, ptr %x4, i64 16
;;   %x5 = load i32, ptr %x5p, align 4, !tbaa !2, !dbg !DILocation(line: 233, scope: !30)
;;   %x5m = icmp ne i32 %x5, %type1, !dbg !DILocation(line: 233, scope: !30)
;;   br i1 %x5m, label %t7, label %k6, !prof !3
;; k6:
;;   store ptr %vmctx, ptr %caller, align 8, !tbaa !2
;;   %x8 = load ptr, ptr %x4, align 8, !tbaa !2
;;   %x8p = getelementptr i8, ptr %x4, i64 8
;;   %x8c = load ptr, ptr %x8p, align 8, !tbaa !2
;;   %x9p = getelementptr i8, ptr %x4, i64 24
;;   %x9 = load ptr, ptr %x9p, align 8, !tbaa !2
;;   %x10a = getelementptr i8, ptr %tail.arguments, i64 0
;;   store ptr %x8, ptr %x10a, align 8, !tbaa !2
;;   %x10b = getelementptr i8, ptr %tail.arguments, i64 8
;;   store ptr %x8c, ptr %x10b, align 8, !tbaa !2
;;   %x10n = icmp eq ptr %x9, null
;;   %x10 = select i1 %x10n, ptr @tail_adapter_0, ptr %x9
;;   %x10c = select i1 %x10n, ptr %tail.arguments, ptr %x8c
;;   %x11.0 = zext i32 0 to i64
;;   %x11.1 = zext i32 1 to i64
;;   %x11.2 = zext i32 2 to i64
;;   %x11.3 = zext i32 3 to i64
;;   %x11.4 = zext i32 4 to i64
;;   %x11.5 = getelementptr i8, ptr %tail.arguments, i64 16
;;   store i32 5, ptr %x11.5, align 8, !tbaa !2
;;   %x11.6d = insertelement <2 x double> poison, double 0x4018000000000000, i64 0
;;   %x11.6 = bitcast <2 x double> %x11.6d to <4 x float>
;;   %x11 = musttail call i64 %x10(ptr %x10c, i64 %x11.0, i64 %x11.1, i64 %x11.2, i64 %x11.3, i64 %x11.4, <4 x float> %x11.6, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison), !dbg !DILocation(line: 233, scope: !30)
;;   ret i64 %x11
;; t3:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 233, scope: !30)
;;   call void @llvm.ubsantrap(i8 3) #1, !dbg !DILocation(line: 233, scope: !30)
;;   unreachable
;; t7:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 233, scope: !30)
;;   call void @llvm.ubsantrap(i8 5) #1, !dbg !DILocation(line: 233, scope: !30)
;;   unreachable
;; }

;; @f1 = weak dso_local alias i64 (ptr, i32, double, ptr), ptr @t1

;; @f2 = weak dso_local alias i64 (ptr, i64), ptr @t2

;; @f3 = weak dso_local alias i64 (ptr, i64), ptr @t3

;; @t4 = weak dso_local alias i64 (ptr, i64, i64, i64, i64, i64, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>), ptr @f4

;; @f5 = weak dso_local alias i64 (ptr), ptr @t5

;; @f6 = weak dso_local alias { i64, i32 } (ptr, ptr, float), ptr @t6

;; @body7 = weak dso_local alias i64 (ptr, i64, i64, i64, i64, i64, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>, <4 x float>), ptr @t7

;; define weak dso_local i64 @f7(ptr %vmctx, i32 %p0, i32 %p1, i32 %p2, i32 %p3, i32 %p4, i32 %p5, double %p6) #0 {
;;   %tail.store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %tail.store = load ptr, ptr %tail.store.p, align 8, !invariant.load !0
;;   %tail.arguments.p = getelementptr i8, ptr %tail.store, i64 40
;;   %tail.arguments = load ptr, ptr %tail.arguments.p, align 8, !invariant.load !0
;;   %x.0 = zext i32 %p0 to i64
;;   %x.1 = zext i32 %p1 to i64
;;   %x.2 = zext i32 %p2 to i64
;;   %x.3 = zext i32 %p3 to i64
;;   %x.4 = zext i32 %p4 to i64
;;   %x.5 = getelementptr i8, ptr %tail.arguments, i64 16
;;   store i32 %p5, ptr %x.5, align 8, !tbaa !2
;;   %x.6d = insertelement <2 x double> poison, double %p6, i64 0
;;   %x.6 = bitcast <2 x double> %x.6d to <4 x float>
;;   %r = call i64 @t7(ptr %vmctx, i64 %x.0, i64 %x.1, i64 %x.2, i64 %x.3, i64 %x.4, <4 x float> %x.6, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison, <4 x float> poison)
;;   ret i64 %r
;; }

;; define weak dso_local i64 @t8(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 {
;;   %entry.store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %entry.store = load ptr, ptr %entry.store.p, align 8, !invariant.load !0
;;   %entry.arguments.p = getelementptr i8, ptr %entry.store, i64 40
;;   %entry.arguments = load ptr, ptr %entry.arguments.p, align 8, !invariant.load !0
;;   %p0 = trunc i64 %int0 to i32
;;   %p1 = trunc i64 %int1 to i32
;;   %p2 = trunc i64 %int2 to i32
;;   %p3 = trunc i64 %int3 to i32
;;   %p4 = trunc i64 %int4 to i32
;;   %p5.p = getelementptr i8, ptr %entry.arguments, i64 16
;;   %p5 = load i32, ptr %p5.p, align 8, !tbaa !2
;;   %p6d = bitcast <4 x float> %vec0 to <2 x double>
;;   %p6 = extractelement <2 x double> %p6d, i64 0
;;   %r = call i64 @f8(ptr %vmctx, i32 %p0, i32 %p1, i32 %p2, i32 %p3, i32 %p4, i32 %p5, double %p6)
;;   ret i64 %r
;; }

;; @f9 = weak dso_local alias i64 (ptr), ptr @t9

;; @f10 = weak dso_local alias i64 (ptr), ptr @t10

;; @f11 = weak dso_local alias i64 (ptr), ptr @t11

;; define weak dso_local i64 @tail_adapter_0(ptr %vmctx, i64 %int0, i64 %int1, i64 %int2, i64 %int3, i64 %int4, <4 x float> %vec0, <4 x float> %vec1, <4 x float> %vec2, <4 x float> %vec3, <4 x float> %vec4, <4 x float> %vec5, <4 x float> %vec6, <4 x float> %vec7) #0 {
;;   %p0 = trunc i64 %int0 to i32
;;   %p1 = trunc i64 %int1 to i32
;;   %p2 = trunc i64 %int2 to i32
;;   %p3 = trunc i64 %int3 to i32
;;   %p4 = trunc i64 %int4 to i32
;;   %p5.p = getelementptr i8, ptr %vmctx, i64 16
;;   %p5 = load i32, ptr %p5.p, align 8, !tbaa !2
;;   %p6d = bitcast <4 x float> %vec0 to <2 x double>
;;   %p6 = extractelement <2 x double> %p6d, i64 0
;;   %code.p = getelementptr i8, ptr %vmctx, i64 0
;;   %code = load ptr, ptr %code.p, align 8, !tbaa !2
;;   %context.p = getelementptr i8, ptr %vmctx, i64 8
;;   %context = load ptr, ptr %context.p, align 8, !tbaa !2
;;   %r = call i64 %code(ptr %context, i32 %p0, i32 %p1, i32 %p2, i32 %p3, i32 %p4, i32 %p5, double %p6)
;;   ret i64 %r
;; }
