;;! signals_based_traps = false
;; Explicit checks: the base and the size are loaded anew for every access.
(module (memory 1)
  (func (param i32) (result i32) (i32.load offset=16 (local.get 0)))
  (func (param i32 i32) (i32.store8 (local.get 0) (local.get 1))))

;;; IR
;; define weak dso_local i32 @f0(ptr %vmctx, i32 %p0) #0 !dbg !20 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x2z = zext i32 %p0 to i64
;;   %x2l = sub nuw i64 %x1, 20
;;   %x2 = icmp ugt i64 %x2z, %x2l
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %x5 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a6z = zext i32 %p0 to i64
;;   %a6b = getelementptr i8, ptr %x5, i64 %a6z
;;   %a6 = getelementptr i8, ptr %a6b, i64 16
;;   %x7 = load i32, ptr %a6, align 1, !tbaa !1, !dbg !DILocation(line: 38, scope: !20)
;;   ret i32 %x7
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 38, scope: !20)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 38, scope: !20)
;;   unreachable
;; }

;; define weak dso_local void @f1(ptr %vmctx, i32 %p0, i32 %p1) #0 !dbg !21 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x2z = zext i32 %p0 to i64
;;   %x2l = sub nuw i64 %x1, 1
;;   %x2 = icmp ugt i64 %x2z, %x2l
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %x5 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a6z = zext i32 %p0 to i64
;;   %a6 = getelementptr i8, ptr %x5, i64 %a6z
;;   %x7 = trunc i32 %p1 to i8
;;   store i8 %x7, ptr %a6, align 1, !tbaa !1, !dbg !DILocation(line: 48, scope: !21)
;;   ret void
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 48, scope: !21)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 48, scope: !21)
;;   unreachable
;; }
