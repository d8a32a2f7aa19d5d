;; Values of loads and calls that nothing uses are anchored: dropped, dead in a local, absorbed.
(module (memory 1)
  (func $dropped (param i32) (drop (i32.load (local.get 0))))
  (func $dead_local (param i32) (local i32)
    (local.set 1 (i32.load (local.get 0)))
    (local.set 1 (i32.const 1)))
  (func $dead_at_end (param i32) (local i32) (local.set 1 (i32.add (i32.load (local.get 0)) (i32.const 1))))
  (func $absorbed (param i32) (result i32) (i32.and (i32.load (local.get 0)) (i32.const 0)))
  (func $call (param i32) (drop (call $absorbed (local.get 0))))
  (func $discarded (param i32) (result i32) (i32.load (local.get 0)) (return (i32.const 1)))
  (func $stored_then_unreachable (param i32) (i32.store (local.get 0) (i32.const 1)) (unreachable)))

;;; IR
;; define weak dso_local void @f0(ptr %vmctx, i32 %p0) #0 !dbg !20 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = load i32, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 42, scope: !20)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   call void asm sideeffect "", "r"(i32 %x2)
;;   ret void
;; }

;; define weak dso_local void @f1(ptr %vmctx, i32 %p0) #0 !dbg !21 {
;; entry:
;;   %l1 = alloca i32
;;   store i32 0, ptr %l1
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = load i32, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 53, scope: !21)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   store i32 %x2, ptr %l1
;;   call void asm sideeffect "", "r"(i32 %x2)
;;   store i32 1, ptr %l1
;;   ret void
;; }

;; define weak dso_local void @f2(ptr %vmctx, i32 %p0) #0 !dbg !22 {
;; entry:
;;   %l1 = alloca i32
;;   store i32 0, ptr %l1
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = load i32, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 69, scope: !22)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   %v1 = add i32 %x2, 1, !dbg !DILocation(line: 69, scope: !22)
;;   store i32 %v1, ptr %l1
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %v1, ptr null)
;;   ret void
;; }

;; define weak dso_local i32 @f3(ptr %vmctx, i32 %p0) #0 !dbg !23 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = load i32, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 82, scope: !23)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   call void asm sideeffect "", "r"(i32 %x2)
;;   %v1 = and i32 %x2, 0, !dbg !DILocation(line: 82, scope: !23)
;;   ret i32 %v1
;; }

;; define weak dso_local void @f4(ptr %vmctx, i32 %p0) #0 !dbg !24 {
;; entry:
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %stack.p = getelementptr i8, ptr %store, i64 0
;;   %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2
;;   %stack.a = call ptr @llvm.frameaddress.p0(i32 0)
;;   %stack.f = ptrtoint ptr %stack.a to i64
;;   %stack.o = icmp ult i64 %stack.f, %stack.l
;;   br i1 %stack.o, label %t2, label %body, !prof !3
;; body:
;;   br label %start
;; start:
;;   %x1 = call i32 @f3(ptr %vmctx, i32 %p0), !dbg !DILocation(line: 93, scope: !24)
;;   ret void
;; t2:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 90, scope: !24)
;;   call void @llvm.ubsantrap(i8 0) #1, !dbg !DILocation(line: 90, scope: !24)
;;   unreachable
;; }

;; define weak dso_local i32 @f5(ptr %vmctx, i32 %p0) #0 !dbg !25 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   %x2 = load i32, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 101, scope: !25)
;;   call void @llvm.var.annotation.p0.p0(ptr null, ptr null, ptr null, i32 %x2, ptr null)
;;   call void asm sideeffect "", "r"(i32 %x2)
;;   br label %return
;; return:
;;   %return.0 = phi i32 [ 1, %start ]
;;   ret i32 %return.0
;; }

;; define weak dso_local void @f6(ptr %vmctx, i32 %p0) #0 !dbg !26 {
;; entry:
;;   %base0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %base0 = load ptr, ptr %base0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %a1z = zext i32 %p0 to i64
;;   %a1 = getelementptr i8, ptr %base0, i64 %a1z
;;   store i32 1, ptr %a1, align 1, !tbaa !1, !dbg !DILocation(line: 114, scope: !26)
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 117, scope: !26)
;;   call void @llvm.ubsantrap(i8 9) #1, !dbg !DILocation(line: 117, scope: !26)
;;   unreachable
;; }
