;; Direct calls, imports through their func-ref, indirect calls with masked index, results area.
(module
  (type $t (func (param i32) (result i32)))
  (import "m" "f" (func $f (param i64) (result f32)))
  (table 3 3 funcref)
  (table $growing 1 funcref)
  (elem (i32.const 0) $id)
  (func $id (param i32) (result i32) (local.get 0))
  (func $four (result i32 i64 f32 f64) (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4))
  (func (result f64) (local f64) (call $four) (local.set 0) (drop) (drop) (drop) (local.get 0))
  (func (result f32) (call $f (i64.const 1)))
  (func (param i32) (result i32) (call_indirect (type $t) (call $id (i32.const 5)) (local.get 0)))
  (func (param i32) (result i32) (call_indirect $growing (type $t) (i32.const 5) (local.get 0))))

;;; IR
;; define weak dso_local i32 @f1(ptr %vmctx, i32 %p0) #0 !dbg !20 {
;; entry:
;;   br label %start
;; start:
;;   ret i32 %p0
;; }

;; define weak dso_local { i32, i64 } @f2(ptr %vmctx, ptr %results) #0 !dbg !21 {
;; entry:
;;   br label %start
;; start:
;;   %x1 = getelementptr i8, ptr %results, i64 0
;;   store float 0x4008000000000000, ptr %x1, align 8, !tbaa !2
;;   %x2 = getelementptr i8, ptr %results, i64 8
;;   store double 0x4010000000000000, ptr %x2, align 8, !tbaa !2
;;   %x3a = insertvalue { i32, i64 } poison, i32 1, 0
;;   %x3 = insertvalue { i32, i64 } %x3a, i64 2, 1
;;   ret { i32, i64 } %x3
;; }

;; define weak dso_local double @f3(ptr %vmctx) #0 !dbg !22 {
;; entry:
;;   %area = alloca [24 x i8], align 16
;;   %l0 = alloca double
;;   store double 0.0, ptr %l0
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %stack.p = getelementptr i8, ptr %store, i64 0
;;   %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2
;;   %stack.a = call ptr @llvm.frameaddress.p0(i32 0)
;;   %stack.f = ptrtoint ptr %stack.a to i64
;;   %stack.o = icmp ult i64 %stack.f, %stack.l
;;   br i1 %stack.o, label %t4, label %body, !prof !3
;; body:
;;   br label %start
;; start:
;;   %x1 = call { i32, i64 } @f2(ptr %vmctx, ptr %area), !dbg !DILocation(line: 106, scope: !22)
;;   %x1a = extractvalue { i32, i64 } %x1, 0
;;   %x1b = extractvalue { i32, i64 } %x1, 1
;;   %x2p = getelementptr i8, ptr %area, i64 0
;;   %x2 = load float, ptr %x2p, align 8, !tbaa !2
;;   %x3p = getelementptr i8, ptr %area, i64 8
;;   %x3 = load double, ptr %x3p, align 8, !tbaa !2
;;   store double %x3, ptr %l0
;;   ret double %x3
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 103, scope: !22)
;;   call void @llvm.ubsantrap(i8 0) #1, !dbg !DILocation(line: 103, scope: !22)
;;   unreachable
;; }

;; define weak dso_local float @f4(ptr %vmctx) #0 !dbg !23 {
;; entry:
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %stack.p = getelementptr i8, ptr %store, i64 0
;;   %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2
;;   %stack.a = call ptr @llvm.frameaddress.p0(i32 0)
;;   %stack.f = ptrtoint ptr %stack.a to i64
;;   %stack.o = icmp ult i64 %stack.f, %stack.l
;;   br i1 %stack.o, label %t3, label %body, !prof !3
;; body:
;;   %ref0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %ref0 = load ptr, ptr %ref0.p, align 8, !invariant.load !0
;;   %caller = getelementptr i8, ptr %store, i64 8
;;   br label %start
;; start:
;;   store ptr %vmctx, ptr %caller, align 8, !tbaa !2
;;   %x1 = load ptr, ptr %ref0, align 8, !tbaa !2
;;   %x1p = getelementptr i8, ptr %ref0, i64 8
;;   %x1c = load ptr, ptr %x1p, align 8, !tbaa !2
;;   %x2 = call float %x1(ptr %x1c, i64 1), !dbg !DILocation(line: 120, scope: !23)
;;   ret float %x2
;; t3:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 117, scope: !23)
;;   call void @llvm.ubsantrap(i8 0) #1, !dbg !DILocation(line: 117, scope: !23)
;;   unreachable
;; }

;; define weak dso_local i32 @f5(ptr %vmctx, i32 %p0) #0 !dbg !24 {
;; entry:
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %stack.p = getelementptr i8, ptr %store, i64 0
;;   %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2
;;   %stack.a = call ptr @llvm.frameaddress.p0(i32 0)
;;   %stack.f = ptrtoint ptr %stack.a to i64
;;   %stack.o = icmp ult i64 %stack.f, %stack.l
;;   br i1 %stack.o, label %t11, label %body, !prof !3
;; body:
;;   %elements0.p = getelementptr i8, ptr %vmctx, i64 64
;;   %elements0 = load ptr, ptr %elements0.p, align 8, !invariant.load !0
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type0.p = getelementptr i32, ptr %types, i64 0
;;   %type0 = load i32, ptr %type0.p, align 4, !invariant.load !0
;;   %caller = getelementptr i8, ptr %store, i64 8
;;   br label %start
;; start:
;;   %x1 = call i32 @f1(ptr %vmctx, i32 5), !dbg !DILocation(line: 127, scope: !24)
;;   %x2o = icmp uge i32 %p0, 3
;;   %x2h = call i32 asm "", "=r,0"(i32 %p0) #2
;;   %x2m = and i32 %x2h, 3
;;   br i1 %x2o, label %t4, label %k3, !prof !3
;; k3:
;;   %x2z = zext i32 %x2m to i64
;;   %x2 = getelementptr ptr, ptr %elements0, i64 %x2z
;;   %x5 = load ptr, ptr %x2, align 8, !tbaa !2
;;   %x6p = getelementptr i8, ptr %x5, i64 16
;;   %x6 = load i32, ptr %x6p, align 4, !tbaa !2, !dbg !DILocation(line: 131, scope: !24)
;;   %x6m = icmp ne i32 %x6, %type0, !dbg !DILocation(line: 131, scope: !24)
;;   br i1 %x6m, label %t8, label %k7, !prof !3
;; k7:
;;   store ptr %vmctx, ptr %caller, align 8, !tbaa !2
;;   %x9 = load ptr, ptr %x5, align 8, !tbaa !2
;;   %x9p = getelementptr i8, ptr %x5, i64 8
;;   %x9c = load ptr, ptr %x9p, align 8, !tbaa !2
;;   %x10 = call i32 %x9(ptr %x9c, i32 %x1), !dbg !DILocation(line: 131, scope: !24)
;;   ret i32 %x10
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 131, scope: !24)
;;   call void @llvm.ubsantrap(i8 3) #1, !dbg !DILocation(line: 131, scope: !24)
;;   unreachable
;; t8:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 131, scope: !24)
;;   call void @llvm.ubsantrap(i8 5) #1, !dbg !DILocation(line: 131, scope: !24)
;;   unreachable
;; t11:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 124, scope: !24)
;;   call void @llvm.ubsantrap(i8 0) #1, !dbg !DILocation(line: 124, scope: !24)
;;   unreachable
;; }

;; define weak dso_local i32 @f6(ptr %vmctx, i32 %p0) #0 !dbg !25 {
;; entry:
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %stack.p = getelementptr i8, ptr %store, i64 0
;;   %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2
;;   %stack.a = call ptr @llvm.frameaddress.p0(i32 0)
;;   %stack.f = ptrtoint ptr %stack.a to i64
;;   %stack.o = icmp ult i64 %stack.f, %stack.l
;;   br i1 %stack.o, label %t11, label %body, !prof !3
;; body:
;;   %table1.p = getelementptr i8, ptr %vmctx, i64 72
;;   %table1 = load ptr, ptr %table1.p, align 8, !invariant.load !0
;;   %table1.length = getelementptr i8, ptr %table1, i64 8
;;   %elements1.p = getelementptr i8, ptr %vmctx, i64 80
;;   %elements1 = load ptr, ptr %elements1.p, align 8, !invariant.load !0
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type0.p = getelementptr i32, ptr %types, i64 0
;;   %type0 = load i32, ptr %type0.p, align 4, !invariant.load !0
;;   %caller = getelementptr i8, ptr %store, i64 8
;;   br label %start
;; start:
;;   %x1 = load i32, ptr %table1.length, align 8, !tbaa !2
;;   %x2o = icmp uge i32 %p0, %x1
;;   %x2h = call i32 asm "", "=r,0"(i32 %p0) #2
;;   %x2i = icmp ult i32 %x2h, %x1
;;   %x2m = select i1 %x2i, i32 %x2h, i32 0
;;   br i1 %x2o, label %t4, label %k3, !prof !3
;; k3:
;;   %x2z = zext i32 %x2m to i64
;;   %x2 = getelementptr ptr, ptr %elements1, i64 %x2z
;;   %x5 = load ptr, ptr %x2, align 8, !tbaa !2
;;   %x6p = getelementptr i8, ptr %x5, i64 16
;;   %x6 = load i32, ptr %x6p, align 4, !tbaa !2, !dbg !DILocation(line: 141, scope: !25)
;;   %x6m = icmp ne i32 %x6, %type0, !dbg !DILocation(line: 141, scope: !25)
;;   br i1 %x6m, label %t8, label %k7, !prof !3
;; k7:
;;   store ptr %vmctx, ptr %caller, align 8, !tbaa !2
;;   %x9 = load ptr, ptr %x5, align 8, !tbaa !2
;;   %x9p = getelementptr i8, ptr %x5, i64 8
;;   %x9c = load ptr, ptr %x9p, align 8, !tbaa !2
;;   %x10 = call i32 %x9(ptr %x9c, i32 5), !dbg !DILocation(line: 141, scope: !25)
;;   ret i32 %x10
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 141, scope: !25)
;;   call void @llvm.ubsantrap(i8 3) #1, !dbg !DILocation(line: 141, scope: !25)
;;   unreachable
;; t8:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 141, scope: !25)
;;   call void @llvm.ubsantrap(i8 5) #1, !dbg !DILocation(line: 141, scope: !25)
;;   unreachable
;; t11:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 136, scope: !25)
;;   call void @llvm.ubsantrap(i8 0) #1, !dbg !DILocation(line: 136, scope: !25)
;;   unreachable
;; }
