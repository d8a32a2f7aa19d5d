;; Globals in the context or behind a pointer, table access, references, builtins.
(module
  (import "m" "g" (global $imported i32))
  (global $own (mut i64) (i64.const 5))
  (table $t 2 8 externref)
  (memory 1)
  (elem declare func $f)
  (func $f)
  (func (result i32) (global.get $imported))
  (func (global.set $own (i64.add (global.get $own) (i64.const 1))))
  (func (param i32) (result externref) (table.get $t (local.get 0)))
  (func (param i32 externref) (table.set $t (local.get 0) (local.get 1)))
  (func (result funcref) (ref.func $f))
  (func (result i32) (ref.is_null (ref.null extern)))
  (func (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2))))

;;; IR
;; define weak dso_local void @f0(ptr %vmctx) #0 !dbg !20 {
;; entry:
;;   br label %start
;; start:
;;   ret void
;; }

;; define weak dso_local i32 @f1(ptr %vmctx) #0 !dbg !21 {
;; entry:
;;   %g0.p = getelementptr i8, ptr %vmctx, i64 80
;;   %g0 = load ptr, ptr %g0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i32, ptr %g0, align 8, !invariant.load !0
;;   ret i32 %x1
;; }

;; define weak dso_local void @f2(ptr %vmctx) #0 !dbg !22 {
;; entry:
;;   %g1 = getelementptr i8, ptr %vmctx, i64 96
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %g1, align 8, !tbaa !2
;;   %v1 = add i64 %x1, 1
;;   store i64 %v1, ptr %g1, align 8, !tbaa !2
;;   ret void
;; }

;; define weak dso_local ptr @f3(ptr %vmctx, i32 %p0) #0 !dbg !23 {
;; entry:
;;   %table0.p = getelementptr i8, ptr %vmctx, i64 64
;;   %table0 = load ptr, ptr %table0.p, align 8, !invariant.load !0
;;   %table0.length = getelementptr i8, ptr %table0, i64 8
;;   %elements0.p = getelementptr i8, ptr %vmctx, i64 72
;;   %elements0 = load ptr, ptr %elements0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i32, ptr %table0.length, align 8, !tbaa !2
;;   %x2o = icmp uge i32 %p0, %x1
;;   %x2h = call i32 asm "", "=r,0"(i32 %p0) #2
;;   %x2i = icmp ult i32 %x2h, %x1
;;   %x2m = select i1 %x2i, i32 %x2h, i32 0
;;   br i1 %x2o, label %t4, label %k3, !prof !3
;; k3:
;;   %x2z = zext i32 %x2m to i64
;;   %x2 = getelementptr ptr, ptr %elements0, i64 %x2z
;;   %x5 = load ptr, ptr %x2, align 8, !tbaa !2
;;   ret ptr %x5
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 111, scope: !23)
;;   call void @llvm.ubsantrap(i8 3) #1, !dbg !DILocation(line: 111, scope: !23)
;;   unreachable
;; }

;; define weak dso_local void @f4(ptr %vmctx, i32 %p0, ptr %p1) #0 !dbg !24 {
;; entry:
;;   %table0.p = getelementptr i8, ptr %vmctx, i64 64
;;   %table0 = load ptr, ptr %table0.p, align 8, !invariant.load !0
;;   %table0.length = getelementptr i8, ptr %table0, i64 8
;;   %elements0.p = getelementptr i8, ptr %vmctx, i64 72
;;   %elements0 = load ptr, ptr %elements0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i32, ptr %table0.length, align 8, !tbaa !2
;;   %x2o = icmp uge i32 %p0, %x1
;;   %x2h = call i32 asm "", "=r,0"(i32 %p0) #2
;;   %x2i = icmp ult i32 %x2h, %x1
;;   %x2m = select i1 %x2i, i32 %x2h, i32 0
;;   br i1 %x2o, label %t4, label %k3, !prof !3
;; k3:
;;   %x2z = zext i32 %x2m to i64
;;   %x2 = getelementptr ptr, ptr %elements0, i64 %x2z
;;   store ptr %p1, ptr %x2, align 8, !tbaa !2
;;   ret void
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 120, scope: !24)
;;   call void @llvm.ubsantrap(i8 3) #1, !dbg !DILocation(line: 120, scope: !24)
;;   unreachable
;; }

;; define weak dso_local ptr @f5(ptr %vmctx) #0 !dbg !25 {
;; entry:
;;   %ref0 = getelementptr i8, ptr %vmctx, i64 128
;;   br label %start
;; start:
;;   ret ptr %ref0
;; }

;; define weak dso_local i32 @f6(ptr %vmctx) #0 !dbg !26 {
;; entry:
;;   br label %start
;; start:
;;   %x1n = icmp eq ptr null, null
;;   %x1 = zext i1 %x1n to i32
;;   ret i32 %x1
;; }

;; define weak dso_local void @f7(ptr %vmctx, i32 %p0, i32 %p1, i32 %p2) #0 !dbg !27 {
;; entry:
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin2.p = getelementptr ptr, ptr %builtins, i64 2
;;   %builtin2 = load ptr, ptr %builtin2.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = zext i32 %p0 to i64
;;   %x2 = zext i32 %p2 to i64
;;   call void %builtin2(ptr %vmctx, i32 0, i64 %x1, i32 %p1, i64 %x2), !dbg !DILocation(line: 142, scope: !27)
;;   ret void
;; }
