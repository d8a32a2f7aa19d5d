;; Tables with 64-bit indices: the index is compared and masked as it is; copies between both kinds count in i32.
(module (table $wide i64 10 funcref) (table $narrow 10 10 funcref)
  (func (param i64) (result funcref) (table.get $wide (local.get 0)))
  (func (param i32 i64 i32) (table.copy $narrow $wide (local.get 0) (local.get 1) (local.get 2)))
  (func (result i64) (table.grow $wide (ref.null func) (table.size $wide))))

;;; IR
;; define weak dso_local ptr @f0(ptr %vmctx, i64 %p0) #0 !dbg !20 {
;; entry:
;;   %table0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %table0 = load ptr, ptr %table0.p, align 8, !invariant.load !0
;;   %table0.length = getelementptr i8, ptr %table0, i64 8
;;   %elements0.p = getelementptr i8, ptr %vmctx, i64 56
;;   %elements0 = load ptr, ptr %elements0.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %table0.length, align 8, !tbaa !2
;;   %x2o = icmp uge i64 %p0, %x1
;;   %x2h = call i64 asm "", "=r,0"(i64 %p0) #2
;;   %x2i = icmp ult i64 %x2h, %x1
;;   %x2m = select i1 %x2i, i64 %x2h, i64 0
;;   br i1 %x2o, label %t4, label %k3, !prof !3
;; k3:
;;   %x2 = getelementptr ptr, ptr %elements0, i64 %x2m
;;   %x5 = load ptr, ptr %x2, align 8, !tbaa !2
;;   ret ptr %x5
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 49, scope: !20)
;;   call void @llvm.ubsantrap(i8 3) #1, !dbg !DILocation(line: 49, scope: !20)
;;   unreachable
;; }

;; define weak dso_local void @f1(ptr %vmctx, i32 %p0, i64 %p1, i32 %p2) #0 !dbg !21 {
;; entry:
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin7.p = getelementptr ptr, ptr %builtins, i64 7
;;   %builtin7 = load ptr, ptr %builtin7.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = zext i32 %p0 to i64
;;   %x2 = zext i32 %p2 to i64
;;   call void %builtin7(ptr %vmctx, i32 1, i32 0, i64 %x1, i64 %p1, i64 %x2), !dbg !DILocation(line: 60, scope: !21)
;;   ret void
;; }

;; define weak dso_local i64 @f2(ptr %vmctx) #0 !dbg !22 {
;; entry:
;;   %table0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %table0 = load ptr, ptr %table0.p, align 8, !invariant.load !0
;;   %table0.length = getelementptr i8, ptr %table0, i64 8
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin5.p = getelementptr ptr, ptr %builtins, i64 5
;;   %builtin5 = load ptr, ptr %builtin5.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %table0.length, align 8, !tbaa !2
;;   %x2 = call i64 %builtin5(ptr %vmctx, i32 0, ptr null, i64 %x1), !dbg !DILocation(line: 72, scope: !22)
;;   ret i64 %x2
;; }
