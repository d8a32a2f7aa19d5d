;;! consume_fuel = true
;;! epoch_interruption = true
;; Fuel is charged where a stretch ends, and looked at with the epoch where functions and loops begin.
(module
  (func $g (param i32))
  (func (param i32) (result i32) (local i32)
    (loop $l
      (local.set 1 (i32.add (local.get 1) (local.get 0)))
      (call $g (i32.const 1))
      (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1)))

;;; IR
;; define weak dso_local void @f0(ptr %vmctx, i32 %p0) #0 !dbg !20 {
;; entry:
;;   %fuel = alloca i64
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %fuel.p = getelementptr i8, ptr %store, i64 16
;;   %epoch.p = getelementptr i8, ptr %store, i64 24
;;   %epoch = load ptr, ptr %epoch.p, align 8, !tbaa !2
;;   %deadline.p = getelementptr i8, ptr %store, i64 32
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin10.p = getelementptr ptr, ptr %builtins, i64 10
;;   %builtin10 = load ptr, ptr %builtin10.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %fuel.p, align 8, !tbaa !2
;;   store i64 %x1, ptr %fuel
;;   %x2 = load i64, ptr %fuel
;;   %x2r = sub i64 %x2, 1
;;   store i64 %x2r, ptr %fuel
;;   %x3 = load i64, ptr %fuel
;;   %x3o = icmp sle i64 %x3, 0
;;   br i1 %x3o, label %t5, label %k4, !prof !3
;; k4:
;;   %x6 = load volatile i64, ptr %epoch, align 8
;;   %x6d = load volatile i64, ptr %deadline.p, align 8
;;   %x6r = icmp uge i64 %x6, %x6d
;;   br i1 %x6r, label %t7, label %k7, !prof !3
;; k7:
;;   %x8 = load i64, ptr %fuel
;;   store i64 %x8, ptr %fuel.p, align 8, !tbaa !2
;;   ret void
;; t5:
;;   store i64 %x3, ptr %fuel.p, align 8, !tbaa !2
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 29, scope: !20)
;;   call void @llvm.ubsantrap(i8 11) #1, !dbg !DILocation(line: 29, scope: !20)
;;   unreachable
;; t7:
;;   call void %builtin10(ptr %vmctx), !dbg !DILocation(line: 29, scope: !20)
;;   br label %k7
;; }

;; define weak dso_local i32 @f1(ptr %vmctx, i32 %p0) #0 !dbg !21 {
;; entry:
;;   %fuel = alloca i64
;;   %l0 = alloca i32
;;   store i32 %p0, ptr %l0
;;   %l1 = alloca i32
;;   store i32 0, ptr %l1
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %stack.p = getelementptr i8, ptr %store, i64 0
;;   %stack.l = load i64, ptr %stack.p, align 8, !tbaa !2
;;   %stack.a = call ptr @llvm.frameaddress.p0(i32 0)
;;   %stack.f = ptrtoint ptr %stack.a to i64
;;   %stack.o = icmp ult i64 %stack.f, %stack.l
;;   br i1 %stack.o, label %t25, label %body, !prof !3
;; body:
;;   %fuel.p = getelementptr i8, ptr %store, i64 16
;;   %epoch.p = getelementptr i8, ptr %store, i64 24
;;   %epoch = load ptr, ptr %epoch.p, align 8, !tbaa !2
;;   %deadline.p = getelementptr i8, ptr %store, i64 32
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin10.p = getelementptr ptr, ptr %builtins, i64 10
;;   %builtin10 = load ptr, ptr %builtin10.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %fuel.p, align 8, !tbaa !2
;;   store i64 %x1, ptr %fuel
;;   %x2 = load i64, ptr %fuel
;;   %x2r = sub i64 %x2, 1
;;   store i64 %x2r, ptr %fuel
;;   %x3 = load i64, ptr %fuel
;;   %x3o = icmp sle i64 %x3, 0
;;   br i1 %x3o, label %t5, label %k4, !prof !3
;; k4:
;;   %x6 = load volatile i64, ptr %epoch, align 8
;;   %x6d = load volatile i64, ptr %deadline.p, align 8
;;   %x6r = icmp uge i64 %x6, %x6d
;;   br i1 %x6r, label %t7, label %k7, !prof !3
;; k7:
;;   br label %b8
;; b8:

;;   %x9 = load i64, ptr %fuel
;;   %x9o = icmp sle i64 %x9, 0
;;   br i1 %x9o, label %t11, label %k10, !prof !3
;; k10:
;;   %x12 = load volatile i64, ptr %epoch, align 8
;;   %x12d = load volatile i64, ptr %deadline.p, align 8
;;   %x12r = icmp uge i64 %x12, %x12d
;;   br i1 %x12r, label %t13, label %k13, !prof !3
;; k13:
;;   %x14 = load i32, ptr %l1
;;   %x15 = load i32, ptr %l0
;;   %v1 = add i32 %x14, %x15
;;   store i32 %v1, ptr %l1
;;   %x16 = load i64, ptr %fuel
;;   %x16r = sub i64 %x16, 6
;;   store i64 %x16r, ptr %fuel
;;   %x17 = load i64, ptr %fuel
;;   store i64 %x17, ptr %fuel.p, align 8, !tbaa !2
;;   call void @f0(ptr %vmctx, i32 1), !dbg !DILocation(line: 46, scope: !21)
;;   %x19 = load i64, ptr %fuel.p, align 8, !tbaa !2
;;   store i64 %x19, ptr %fuel
;;   %v2 = sub i32 %x15, 1
;;   store i32 %v2, ptr %l0
;;   %x20 = load i64, ptr %fuel
;;   %x20r = sub i64 %x20, 5
;;   store i64 %x20r, ptr %fuel
;;   %x21 = icmp ne i32 %v2, 0
;;   br i1 %x21, label %b8, label %n22
;; n22:
;;   %x23 = load i64, ptr %fuel
;;   %x23r = sub i64 %x23, 1
;;   store i64 %x23r, ptr %fuel
;;   %x24 = load i64, ptr %fuel
;;   store i64 %x24, ptr %fuel.p, align 8, !tbaa !2
;;   ret i32 %v1
;; t5:
;;   store i64 %x3, ptr %fuel.p, align 8, !tbaa !2
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 32, scope: !21)
;;   call void @llvm.ubsantrap(i8 11) #1, !dbg !DILocation(line: 32, scope: !21)
;;   unreachable
;; t7:
;;   call void %builtin10(ptr %vmctx), !dbg !DILocation(line: 32, scope: !21)
;;   br label %k7
;; t11:
;;   store i64 %x9, ptr %fuel.p, align 8, !tbaa !2
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 35, scope: !21)
;;   call void @llvm.ubsantrap(i8 11) #1, !dbg !DILocation(line: 35, scope: !21)
;;   unreachable
;; t13:
;;   call void %builtin10(ptr %vmctx), !dbg !DILocation(line: 35, scope: !21)
;;   br label %k13
;; t25:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 32, scope: !21)
;;   call void @llvm.ubsantrap(i8 0) #1, !dbg !DILocation(line: 32, scope: !21)
;;   unreachable
;; }
