;;! signals_based_traps = false
;; One check for three loads: it is widened, and the cold block finds out which of them traps. A store with a larger
;; offset has a check of its own (what was stored before it must be there), one with a smaller offset has none.
;; Constant addresses below the minimum size are not checked. Behind a join the checks of one way do not count.
(module (memory 1)
  (func (param i32) (result i32)
    (i32.add
      (i32.load offset=4 (local.get 0))
      (i32.add (i32.load (local.get 0)) (i32.load offset=8 (local.get 0)))))
  (func (param i32)
    (i32.store (local.get 0) (i32.const 1))
    (i32.store offset=4 (local.get 0) (i32.const 2))
    (i32.store8 offset=2 (local.get 0) (i32.const 3)))
  (func (result i32) (i32.load (i32.const 65532)))
  (func (param i32 i32)
    (if (local.get 1) (then (i32.store (local.get 0) (i32.const 1))))
    (i32.store8 (local.get 0) (i32.const 2))))

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
;;   %x2l = sub nuw i64 %x1, 12
;;   %x2 = icmp ugt i64 %x2z, %x2l
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %x5 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a6z = zext i32 %p0 to i64
;;   %a6b = getelementptr i8, ptr %x5, i64 %a6z
;;   %a6 = getelementptr i8, ptr %a6b, i64 4
;;   %x7 = load i32, ptr %a6, align 1, !tbaa !1, !dbg !DILocation(line: 48, scope: !20)
;;   %x8 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a9z = zext i32 %p0 to i64
;;   %a9 = getelementptr i8, ptr %x8, i64 %a9z
;;   %x10 = load i32, ptr %a9, align 1, !tbaa !1, !dbg !DILocation(line: 53, scope: !20)
;;   %x13 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a14z = zext i32 %p0 to i64
;;   %a14b = getelementptr i8, ptr %x13, i64 %a14z
;;   %a14 = getelementptr i8, ptr %a14b, i64 8
;;   %x15 = load i32, ptr %a14, align 1, !tbaa !1, !dbg !DILocation(line: 58, scope: !20)
;;   %v1 = add i32 %x10, %x15
;;   %v2 = add i32 %x7, %v1
;;   ret i32 %v2
;; t4:
;;   %x12z = zext i32 %p0 to i64
;;   %x12l = sub nuw i64 %x1, 8
;;   %x12 = icmp ugt i64 %x12z, %x12l
;;   br i1 %x12, label %t11, label %u11
;; t11:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 48, scope: !20)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 48, scope: !20)
;;   unreachable
;; u11:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 58, scope: !20)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 58, scope: !20)
;;   unreachable
;; }

;; define weak dso_local void @f1(ptr %vmctx, i32 %p0) #0 !dbg !21 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   br label %start
;; start:
;;   %x1 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x2z = zext i32 %p0 to i64
;;   %x2l = sub nuw i64 %x1, 4
;;   %x2 = icmp ugt i64 %x2z, %x2l
;;   br i1 %x2, label %t4, label %k3, !prof !3
;; k3:
;;   %x5 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a6z = zext i32 %p0 to i64
;;   %a6 = getelementptr i8, ptr %x5, i64 %a6z
;;   store i32 1, ptr %a6, align 1, !tbaa !1, !dbg !DILocation(line: 70, scope: !21)
;;   %x7 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x8z = zext i32 %p0 to i64
;;   %x8l = sub nuw i64 %x7, 8
;;   %x8 = icmp ugt i64 %x8z, %x8l
;;   br i1 %x8, label %t10, label %k9, !prof !3
;; k9:
;;   %x11 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a12z = zext i32 %p0 to i64
;;   %a12b = getelementptr i8, ptr %x11, i64 %a12z
;;   %a12 = getelementptr i8, ptr %a12b, i64 4
;;   store i32 2, ptr %a12, align 1, !tbaa !1, !dbg !DILocation(line: 77, scope: !21)
;;   %x13 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a14z = zext i32 %p0 to i64
;;   %a14b = getelementptr i8, ptr %x13, i64 %a14z
;;   %a14 = getelementptr i8, ptr %a14b, i64 2
;;   %x15 = trunc i32 3 to i8
;;   store i8 %x15, ptr %a14, align 1, !tbaa !1, !dbg !DILocation(line: 84, scope: !21)
;;   ret void
;; t4:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 70, scope: !21)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 70, scope: !21)
;;   unreachable
;; t10:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 77, scope: !21)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 77, scope: !21)
;;   unreachable
;; }

;; define weak dso_local i32 @f2(ptr %vmctx) #0 !dbg !22 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   br label %start
;; start:
;;   %x1 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a2 = getelementptr i8, ptr %x1, i64 65532
;;   %x3 = load i32, ptr %a2, align 1, !tbaa !1, !dbg !DILocation(line: 94, scope: !22)
;;   ret i32 %x3
;; }

;; define weak dso_local void @f3(ptr %vmctx, i32 %p0, i32 %p1) #0 !dbg !23 {
;; entry:
;;   %memory0.p = getelementptr i8, ptr %vmctx, i64 48
;;   %memory0 = load ptr, ptr %memory0.p, align 8, !invariant.load !0, !dereferenceable !{i64 16}, !align !{i64 8}
;;   %memory0.size = getelementptr i8, ptr %memory0, i64 8
;;   br label %start
;; start:
;;   %x1 = icmp ne i32 %p1, 0
;;   br i1 %x1, label %h2, label %e2
;; h2:
;;   %x3 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x4z = zext i32 %p0 to i64
;;   %x4l = sub nuw i64 %x3, 4
;;   %x4 = icmp ugt i64 %x4z, %x4l
;;   br i1 %x4, label %t6, label %k5, !prof !3
;; k5:
;;   %x7 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a8z = zext i32 %p0 to i64
;;   %a8 = getelementptr i8, ptr %x7, i64 %a8z
;;   store i32 1, ptr %a8, align 1, !tbaa !1, !dbg !DILocation(line: 108, scope: !23)
;;   br label %b2
;; e2:
;;   br label %b2
;; b2:
;;   %x9 = load i64, ptr %memory0.size, align 8, !tbaa !2, !range !{i64 65536, i64 4611686018427387904}
;;   %x10z = zext i32 %p0 to i64
;;   %x10l = sub nuw i64 %x9, 1
;;   %x10 = icmp ugt i64 %x10z, %x10l
;;   br i1 %x10, label %t12, label %k11, !prof !3
;; k11:
;;   %x13 = load ptr, ptr %memory0, align 8, !tbaa !2
;;   %a14z = zext i32 %p0 to i64
;;   %a14 = getelementptr i8, ptr %x13, i64 %a14z
;;   %x15 = trunc i32 2 to i8
;;   store i8 %x15, ptr %a14, align 1, !tbaa !1, !dbg !DILocation(line: 116, scope: !23)
;;   ret void
;; t6:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 108, scope: !23)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 108, scope: !23)
;;   unreachable
;; t12:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 116, scope: !23)
;;   call void @llvm.ubsantrap(i8 1) #1, !dbg !DILocation(line: 116, scope: !23)
;;   unreachable
;; }
