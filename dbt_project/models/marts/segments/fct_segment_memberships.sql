with

final as (

    select
        members.client_id,
        members.segment_id,
        members.centroid_distance,
        percent_rank() over (
            partition by members.as_of_date, members.segment_id
            order by members.centroid_distance
        ) as distance_rank_ratio,
        members.is_unusual,
        members.as_of_date,
        members.fit_date
    from {{ source('segments', 'segment_memberships') }} as members

)

select * from final
